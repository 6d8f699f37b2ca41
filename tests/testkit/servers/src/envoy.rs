use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{PATIENCE, keep_log};

/// A real Envoy with two workers.
pub struct Envoy {
    /// Configuration and log.
    folder: TempDir,
    server: Child,
    admin: SocketAddr,
}

impl Envoy {
    /// Starts Envoy with this configuration: YAML, of which JSON is a part. It has an admin port; where it says port 0,
    /// Envoy takes a free one. Returns when every listener is open.
    ///
    /// # Panics
    /// Where Envoy is not installed, refuses the configuration, or does not start.
    pub fn start(configuration: &str) -> Envoy {
        Envoy::start_with(configuration, &[])
    }

    /// As [`Envoy::start`], with more in its environment.
    pub fn start_with(configuration: &str, environment: &[(&str, &str)]) -> Envoy {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("envoy.yaml");
        fs::write(&path, configuration).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let admin = folder.path().join("admin");
        let server = Command::new(program())
            .arg("--config-path")
            .arg(&path)
            .arg("--admin-address-path")
            .arg(&admin)
            // Shares no memory with other Envoys, and has two workers also where there are more processors.
            .args(["--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning"])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut envoy = Envoy {
            folder,
            server,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let start = Instant::now();
        while !envoy.is_ready() {
            assert!(envoy.is_alive(), "envoy ended: {}", envoy.log());
            assert!(start.elapsed() < PATIENCE, "envoy does not start: {}", envoy.log());
            std::thread::sleep(Duration::from_millis(20));
            let address = fs::read_to_string(&admin).unwrap_or_default();
            envoy.admin = address.parse().unwrap_or(envoy.admin);
        }
        envoy
    }

    /// Whether Envoy takes this configuration in this environment (`--mode validate`), and what it says.
    ///
    /// # Panics
    /// Where Envoy is not installed.
    pub fn validate(configuration: &Path, environment: &[(&str, &str)]) -> Output {
        Command::new(program())
            .args(["--mode", "validate", "--config-path"])
            .arg(configuration)
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// Where this listener takes connections.
    ///
    /// # Panics
    /// Where there is no such listener.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let listeners = self.admin("/listeners");
        let mut named = listeners.lines().filter_map(|line| line.split_once("::"));
        let (_, address) = named
            .find(|(found, _)| *found == name)
            .unwrap_or_else(|| panic!("no listener {name}: {listeners}"));
        address.parse().unwrap()
    }

    /// The sum of the counters or gauges whose names end so; `None` where there is none.
    pub fn stat(&self, name: &str) -> Option<u64> {
        let stats = self.admin("/stats");
        let lines = stats.lines().filter_map(|line| line.split_once(": "));
        let values = lines.filter(|(found, _)| found.ends_with(name));
        values
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .reduce(|a, b| a + b)
    }

    /// What the admin port says to `GET path`.
    ///
    /// # Panics
    /// Where it says nothing, or another status than 200.
    pub fn admin(&self, path: &str) -> String {
        self.ask(path)
            .unwrap_or_else(|| panic!("{path}: Envoy's admin port does not answer: {}", self.log()))
    }

    /// Whether the process runs.
    pub fn is_alive(&mut self) -> bool {
        self.server.try_wait().unwrap().is_none()
    }

    /// What Envoy itself holds at this moment, in bytes, without its virtual machines' memory. `/stats` says what it held
    /// some seconds ago.
    ///
    /// # Panics
    /// Where Envoy does not say.
    pub fn allocated_memory(&self) -> u64 {
        let memory = self.admin("/memory");
        let fields = memory.split(',').filter_map(|field| field.split_once(':'));
        let mut allocated = fields.filter(|(name, _)| name.contains("\"allocated\""));
        let (_, bytes) = allocated
            .next()
            .unwrap_or_else(|| panic!("no allocated memory: {memory}"));
        bytes.trim().trim_matches('"').parse().unwrap()
    }

    /// The process's resident memory, in bytes.
    pub fn resident_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// What Envoy has written to its standard output and error so far; empty where that cannot be
    /// read.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn is_ready(&self) -> bool {
        self.ask("/ready").is_some_and(|answer| answer.trim() == "LIVE")
    }

    /// The body of a 200.
    fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| unchunked(head, body))
    }
}

/// What is long comes in chunks.
fn unchunked(head: &str, body: &str) -> String {
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut text, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        let (Some(chunk), Some(following)) = (after.get(..size), after.get(size + 2..)) else {
            break;
        };
        text.push_str(chunk);
        rest = following;
    }
    text
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        keep_log("envoy", &self.log());
    }
}

/// In the project's own virtual environment. The script there becomes Envoy itself, under the same process id.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../.tools/bin/envoy");
    assert!(
        program.exists(),
        "Envoy is not installed: run make setup-servers, which installs it"
    );
    program
}
