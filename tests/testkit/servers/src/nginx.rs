use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{PATIENCE, PORTS, free_port, keep_log, signal};

/// A real nginx.
pub struct Nginx {
    /// Configuration, log and temporary files.
    folder: TempDir,
    address: SocketAddr,
    server: Child,
}

impl Nginx {
    /// Starts nginx with what `configure` writes for a port: the inside of its `http` block.
    ///
    /// # Panics
    /// Where nginx is not installed, refuses the configuration, or does not start.
    pub fn start(configure: impl Fn(SocketAddr) -> String) -> Nginx {
        for _ in 0..PORTS {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            if let Some(nginx) = Nginx::try_start(address, &configure(address)) {
                return nginx;
            }
        }
        panic!("no free port after {PORTS} attempts");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether nginx takes what would stand inside its `http` block (`nginx -t`), and what it says.
    ///
    /// # Panics
    /// Where nginx is not installed.
    pub fn validate(http: &str) -> Output {
        let folder = tempfile::tempdir().unwrap();
        command(folder.path(), http).arg("-t").output().unwrap()
    }

    /// `None` where the port was taken.
    fn try_start(address: SocketAddr, http: &str) -> Option<Nginx> {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let server = command(folder.path(), http)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut nginx = Nginx {
            folder,
            address,
            server,
        };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if nginx.server.try_wait().unwrap().is_some() {
                let log = nginx.log();
                assert!(log.contains("Address already in use"), "nginx ended: {log}");
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "nginx does not start: {}", nginx.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(nginx)
    }

    /// What nginx has written to its standard output and error so far; empty where that cannot be
    /// read.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // An orderly end, so that its workers go with it.
        signal("-TERM", &[self.server.id()]);
        let _ = self.server.wait();
        keep_log("nginx", &self.log());
    }
}

/// Everything that nginx would write elsewhere goes to `folder`.
fn command(folder: &Path, http: &str) -> Command {
    let at = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {at}/{name};\n"))
        .concat();
    let configuration = format!(
        "daemon off; worker_processes 2; pid {at}/pid; error_log stderr;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off;\n{temporary}{http}\n}}\n"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, configuration).unwrap();
    // The workers of a master that is root are not.
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program());
    command
        .arg("-c")
        .arg(path)
        .arg("-e")
        .arg("stderr")
        .arg("-p")
        .arg(folder);
    command
}

/// Debian keeps it out of the path of users.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    let programs = folders.into_iter().map(|folder| folder.join("nginx"));
    programs
        .into_iter()
        .find(|program| program.exists())
        .expect("nginx is not installed: run make setup-servers, which installs it")
}
