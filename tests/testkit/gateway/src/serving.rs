use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use testkit::PATIENCE;

/// `ltr-host serve` as a program. Dropped, it is killed and gone.
pub struct Serving {
    child: Child,
    /// `http://IP:PORT` or `https://IP:PORT`, as the program says it.
    pub url: String,
}

impl Serving {
    /// Starts `command`, whose standard error goes to the end of the file `log`, and waits until it listens.
    ///
    /// # Panics
    /// If it cannot be started, or does not say in time where it listens; with what it logged.
    pub fn start(mut command: Command, log: &Path) -> Serving {
        let stderr = File::options().append(true).create(true).open(log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        // From here on it is killed whatever happens.
        let mut serving = Serving {
            child: child.spawn().unwrap(),
            url: String::new(),
        };
        let stdout = BufReader::new(serving.child.stdout.take().unwrap());
        let (announce, announced) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Later lines interest nobody, but must be read.
                let _ = announce.send(line);
            }
        });
        let line = announced.recv_timeout(PATIENCE).unwrap_or_default();
        let url = line.strip_prefix("listening on ");
        let logged = || std::fs::read_to_string(log).unwrap_or_default();
        url.unwrap_or_else(|| panic!("it does not listen: {line:?}\n{}", logged()))
            .clone_into(&mut serving.url);
        serving
    }

    /// `IP:PORT`.
    pub fn address(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name for `kill`, as `-HUP`.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Waits for its end, and says how it ended.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn ended(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For calls of a gateway on this machine.
pub fn http() -> reqwest::ClientBuilder {
    client::use_ring();
    reqwest::Client::builder().no_proxy().timeout(PATIENCE)
}
