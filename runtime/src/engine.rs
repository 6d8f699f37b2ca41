//! The sandbox: one wasmtime engine, its clock, and the way from bytes to a [`Scorer`].

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{debug, warn};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, OptLevel};

use crate::cache::{CodeCache, CodeOrigin, Found};
use crate::contract::bindings::ScorerPre;
use crate::inspect::inspect_within;
use crate::instance::{Instance, State};
use crate::{CONTRACT_VERSION, EngineError, Limits, LoadError, Scorer};

/// How often running components are asked whether their time is up: the resolution of every deadline.
const TICK: Duration = Duration::from_millis(1);

/// Compiles components and runs them. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Engine {
    wasm: wasmtime::Engine,
    limits: Arc<Limits>,
    compiler: Arc<CompilerSlot>,
    cache: Option<Arc<CodeCache>>,
}

impl Engine {
    /// An engine that compiles whatever it loads: [`Engine::with_cache`] without a cache.
    ///
    /// # Errors
    /// As there.
    pub fn new(limits: Limits) -> Result<Engine, EngineError> {
        Engine::with_cache(limits, None)
    }

    /// Sets up the sandbox and starts its ticking thread, which ends when the last engine and the last scorer
    /// made by it are gone.
    ///
    /// # Errors
    /// When this machine cannot run the compiler's code or lacks the vector instructions that scorers are made of,
    /// or no thread can be started.
    pub fn with_cache(limits: Limits, cache: Option<CodeCache>) -> Result<Engine, EngineError> {
        require(&simd_instructions())?;
        let wasm = wasmtime::Engine::new(&config(&limits)).map_err(|e| EngineError(format!("{e:#}")))?;
        start_ticking(&wasm).map_err(|e| EngineError(e.to_string()))?;
        Ok(Engine {
            wasm,
            limits: Arc::new(limits),
            compiler: Arc::default(),
            cache: cache.map(Arc::new),
        })
    }

    /// The bounds to which this engine holds every component.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Checks, compiles and starts a component, in the order of rising cost and risk: size, structure,
    /// imports, exports, machine code (compiled, or from the cache), first instance, description. Blocks for as long as
    /// [`Limits::max_compile`] and [`Limits::max_describe`] allow: keep it off threads that serve.
    ///
    /// # Errors
    /// One [`LoadError`] for each of these checks.
    pub fn load(&self, component: &[u8]) -> Result<Scorer, LoadError> {
        let started = Instant::now();
        let facts = inspect_within(component, &self.limits)?;
        facts.check_world()?;
        let (compiled, code) = self.machine_code(component, &facts.sha256)?;
        let compile_time = started.elapsed();
        let pre = Linker::<State>::new(&self.wasm)
            .instantiate_pre(&compiled)
            .and_then(ScorerPre::new)
            .map_err(|e| LoadError::WrongWorld(format!("{e:#}")))?;
        let deadline = Instant::now() + self.limits.max_describe;
        let mut instance =
            Instance::new(&pre, &self.limits, deadline).map_err(|failure| failure.on_load(self.limits.max_describe))?;
        let description = instance.describe(deadline).map_err(|failure| match failure {
            // Data that the component interface cannot carry: out of bounds, not UTF-8, or too much.
            crate::instance::Failure::Data(message) => LoadError::BadDescription(message),
            failure => failure.on_load(self.limits.max_describe),
        })?;
        if description.contract_version != CONTRACT_VERSION {
            let found = description.contract_version.chars().take(40).collect();
            return Err(LoadError::WrongContract { found });
        }
        if let Some(fault) = description.fault() {
            return Err(LoadError::BadDescription(fault));
        }
        debug!(sha256 = %facts.sha256, ?code, ?compile_time, total = ?started.elapsed(), "component loaded");
        Ok(Scorer::new(
            pre,
            self.limits.clone(),
            description,
            facts,
            code,
            instance,
        ))
    }

    /// From the cache, if it has any; else from the compiler, and then the cache gets it. A cache that cannot be
    /// written costs the next start its time, and nothing now.
    fn machine_code(&self, component: &[u8], sha256: &str) -> Result<(Component, CodeOrigin), LoadError> {
        let Some(cache) = &self.cache else {
            return Ok((self.compile(component)?, CodeOrigin::Compiled));
        };
        let origin = match cache.find(&self.wasm, sha256) {
            Found::Code(compiled) => return Ok((compiled, CodeOrigin::Cached)),
            Found::Absent => CodeOrigin::Compiled,
            Found::Refused => CodeOrigin::Recompiled,
        };
        let compiled = self.compile(component)?;
        if let Err(error) = cache.store(sha256, &compiled) {
            warn!("machine code is not cached: {error}");
        }
        Ok((compiled, origin))
    }

    /// Compiles on a thread of its own, so that a component which is slow to compile can be given up on. The
    /// thread cannot be stopped, but there is never more than one.
    fn compile(&self, component: &[u8]) -> Result<Component, LoadError> {
        let patience = self.limits.max_compile;
        let deadline = Instant::now() + patience;
        let turn = CompilerSlot::take(&self.compiler, deadline).ok_or(LoadError::CompileTimeout(patience))?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let wasm = self.wasm.clone();
        let bytes = component.to_vec();
        thread::Builder::new()
            .name("scorer-compile".into())
            .stack_size(16 << 20)
            .spawn(move || {
                let compiled = Component::from_binary(&wasm, &bytes);
                drop(turn);
                // Nobody listens any more when the caller has given up.
                let _ = sender.send(compiled);
            })
            .map_err(|e| LoadError::Compile(e.to_string()))?;
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(compiled)) => Ok(compiled),
            Ok(Err(e)) => Err(LoadError::Compile(format!("{e:#}"))),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(LoadError::CompileTimeout(patience)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(LoadError::Compile("the compiler panicked".into())),
        }
    }
}

/// The processor's instructions that WebAssembly's SIMD becomes, and whether this machine has them. Without them
/// every vector would be taken to pieces, at many times the time that callers reckon with.
fn simd_instructions() -> Vec<(&'static str, bool)> {
    #[cfg(target_arch = "x86_64")]
    return vec![
        ("SSSE3", std::is_x86_feature_detected!("ssse3")),
        ("SSE4.1", std::is_x86_feature_detected!("sse4.1")),
    ];
    #[cfg(target_arch = "aarch64")]
    return vec![("NEON", std::arch::is_aarch64_feature_detected!("neon"))];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return vec![("SIMD instructions known to this host", false)];
}

fn require(instructions: &[(&str, bool)]) -> Result<(), EngineError> {
    let missing: Vec<&str> = instructions
        .iter()
        .filter(|(_, has)| !has)
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(EngineError(format!(
            "this machine's processor has no {}; scorers need WebAssembly SIMD (x86-64 with SSE4.1, or AArch64)",
            missing.join(" and no ")
        )))
    }
}

fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // Interrupting through epochs costs less than counting fuel, and follows the clock.
        .epoch_interruption(true)
        // Without it calls are slower, and nothing here waits inside a component.
        .concurrency_support(false)
        .max_wasm_stack(limits.max_stack_bytes)
        .wasm_component_model(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_multi_value(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false)
        // Guard pages over the whole 32-bit address space take the place of bounds checks.
        .memory_reservation(4 << 30)
        .memory_may_move(false)
        .signals_based_traps(true);
    config
}

fn start_ticking(wasm: &wasmtime::Engine) -> std::io::Result<()> {
    let weak = wasm.weak();
    let tick = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    thread::Builder::new().name("scorer-ticks".into()).spawn(tick).map(drop)
}

/// Lets one compilation run at a time.
#[derive(Default)]
struct CompilerSlot {
    taken: Mutex<bool>,
    freed: Condvar,
}

/// Given back on drop, a panicking compiler included.
struct Turn(Arc<CompilerSlot>);

impl CompilerSlot {
    fn take(slot: &Arc<CompilerSlot>, deadline: Instant) -> Option<Turn> {
        let mut taken = slot.taken.lock();
        slot.freed.wait_while_until(&mut taken, |taken| *taken, deadline);
        if std::mem::replace(&mut *taken, true) {
            None
        } else {
            Some(Turn(slot.clone()))
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.taken.lock() = false;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_vectors_is_told_what_it_lacks() {
        assert!(require(&[("SSSE3", true), ("SSE4.1", true)]).is_ok());
        let error = require(&[("SSSE3", true), ("SSE4.1", false)]).unwrap_err().to_string();
        assert!(error.contains("no SSE4.1;"), "{error}");
        let error = require(&[("SSSE3", false), ("SSE4.1", false)]).unwrap_err().to_string();
        assert!(error.contains("no SSSE3 and no SSE4.1;"), "{error}");
    }
}
