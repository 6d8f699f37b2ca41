use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{PATIENCE, PORTS, free_port, signal};

/// An object store that speaks S3 (moto), with one bucket. It keeps nothing over a restart.
pub struct S3 {
    folder: TempDir,
    port: u16,
    /// `None` while it is stopped.
    server: Option<Child>,
}

impl S3 {
    /// The one bucket there is.
    pub const BUCKET: &str = "models";

    /// # Panics
    /// Where moto is not installed or does not start.
    pub fn start() -> S3 {
        let mut store = S3 {
            folder: tempfile::tempdir().unwrap(),
            port: 0,
            server: None,
        };
        for _ in 0..PORTS {
            store.port = free_port();
            if store.try_go_on() {
                return store;
            }
        }
        panic!("no free port after {PORTS} attempts: {}", store.log());
    }

    /// What a client of S3 finds in its environment.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "tests".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "a-secret-for-tests".to_owned()),
        ]
    }

    /// Uploads an object.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.send("PUT", &format!("{}/{key}", S3::BUCKET), bytes);
    }

    /// Uploads every file of a folder, under `prefix`.
    pub fn put_folder(&self, prefix: &str, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            self.put(&format!("{prefix}/{name}"), &std::fs::read(&path).unwrap());
        }
    }

    /// Ends the server at once.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts it again on the same port, with an empty bucket.
    pub fn go_on(&mut self) {
        assert!(self.try_go_on(), "{}", self.log());
    }

    /// Freezes the server: connections are taken, and nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends an [`S3::pause`].
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(server) = &self.server {
            signal(name, &[server.id()]);
        }
    }

    /// Whether the server runs and has its bucket; `false` where the port was taken.
    fn try_go_on(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut server = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", &self.port.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let start = Instant::now();
        loop {
            if server.try_wait().unwrap().is_some() {
                let log = self.log();
                assert!(log.contains("in use"), "moto_server ended: {log}");
                return false;
            }
            if self.log().contains("Running on") {
                self.server = Some(server);
                self.send("PUT", S3::BUCKET, b"");
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "moto_server does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} /{path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{method} {path}: {answer}");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.crash();
    }
}

/// In the project's own virtual environment.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../.tools/bin/moto_server");
    assert!(
        program.exists(),
        "moto is not installed: run make setup-servers, which installs it"
    );
    program
}
