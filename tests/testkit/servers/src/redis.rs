use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::Identity;
use crate::process::{PATIENCE, PORTS, free_port, signal};

/// A Redis that wants a password, and keeps its data over a restart.
pub struct Redis {
    folder: TempDir,
    port: u16,
    /// Whether it speaks TLS alone.
    tls: bool,
    /// `None` while it is stopped.
    server: Option<Child>,
}

impl Redis {
    /// The password of the default user.
    pub const PASSWORD: &str = "correct-horse-battery";

    /// # Panics
    /// Where Redis is not installed or does not start.
    pub fn start() -> Redis {
        Redis::start_in(tempfile::tempdir().unwrap(), false)
    }

    /// One that speaks TLS alone, and shows this certificate.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn start_with_tls(identity: &Identity) -> Redis {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("server.crt"), identity.certificate.pem()).unwrap();
        std::fs::write(folder.path().join("server.key"), identity.key.serialize_pem()).unwrap();
        Redis::start_in(folder, true)
    }

    fn start_in(folder: TempDir, tls: bool) -> Redis {
        let mut redis = Redis {
            folder,
            port: 0,
            tls,
            server: None,
        };
        for _ in 0..PORTS {
            redis.port = free_port();
            if redis.try_go_on() {
                return redis;
            }
        }
        panic!("no free port after {PORTS} attempts: {}", redis.log());
    }

    /// `redis://` or, with TLS, `rediss://`, with the password, for database 0.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://:{}@127.0.0.1:{}/0", Redis::PASSWORD, self.port)
    }

    /// Runs a command, and returns what Redis answers.
    #[track_caller]
    pub fn command(&self, command: &[&str]) -> String {
        let answer = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "--no-auth-warning", "-e"])
            .args(command)
            .env("REDISCLI_AUTH", Redis::PASSWORD)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        assert!(answer.status.success(), "{command:?}: {said}");
        said
    }

    /// Sets a key to a text, without an expiry.
    ///
    /// # Panics
    /// Where Redis does not take it.
    #[track_caller]
    pub fn set(&self, key: &str, value: &str) {
        self.command(&["SET", key, value]);
    }

    /// Ends the server at once.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts it again, on the same port and the same data.
    pub fn go_on(&mut self) {
        assert!(self.try_go_on(), "{}", self.log());
    }

    /// Freezes the server: connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends a [`Redis::pause`].
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Whether the server runs and takes connections; `false` where the port was taken.
    fn try_go_on(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let port = self.port.to_string();
        let listening = if !self.tls {
            vec!["--port", &port]
        } else {
            vec![
                "--port",
                "0",
                "--tls-port",
                &port,
                "--tls-cert-file",
                "server.crt",
                "--tls-key-file",
                "server.key",
                "--tls-auth-clients",
                "no",
            ]
        };
        let mut server = Command::new("redis-server")
            .args(listening)
            .args(["--bind", "127.0.0.1"])
            .args(["--requirepass", Redis::PASSWORD])
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .current_dir(self.folder.path())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("Redis is not installed: run make setup-servers, which installs it");
        let start = Instant::now();
        loop {
            let log = self.log();
            if log.contains("Ready to accept connections") {
                self.server = Some(server);
                return true;
            }
            if server.try_wait().unwrap().is_some() {
                assert!(log.contains("Address already in use"), "redis-server ended: {log}");
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "redis-server does not start: {log}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn signal(&self, name: &str) {
        if let Some(server) = &self.server {
            signal(name, &[server.id()]);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.crash();
    }
}
