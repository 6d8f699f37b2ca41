use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Identity;
use crate::process::{PATIENCE, PORTS, free_port, signal};

/// A PostgreSQL server with a cluster of its own. It syncs to disk as in production.
pub struct Postgres {
    programs: Programs,
    folder: TempDir,
    port: u16,
    /// `None` while it is stopped.
    server: Option<Child>,
    databases: AtomicU32,
}

impl Postgres {
    /// The cluster's superuser.
    pub const USER: &str = "ltr";
    /// With characters that a URL must encode.
    pub const PASSWORD: &str = "p@ss/w:rd 5%";
    const PASSWORD_IN_URL: &str = "p%40ss%2Fw%3Ard%205%25";

    /// Makes a cluster and starts its server.
    ///
    /// # Panics
    /// Where PostgreSQL is not installed or does not start.
    pub fn start() -> Postgres {
        let programs = Programs::find();
        let folder = tempfile::tempdir().unwrap();
        programs.own(folder.path());
        let password = folder.path().join("password");
        std::fs::write(&password, Postgres::PASSWORD).unwrap();
        programs.own(&password);
        let made = programs
            .command("initdb")
            .args(["--username", Postgres::USER, "--auth=scram-sha-256", "--pwfile"])
            .arg(&password)
            .args(["--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"])
            .arg(folder.path().join("data"))
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut server = Postgres {
            programs,
            folder,
            port: 0,
            server: None,
            databases: AtomicU32::new(0),
        };
        for _ in 0..PORTS {
            server.port = free_port();
            if server.try_go_on() {
                return server;
            }
        }
        panic!("no free port after {PORTS} attempts: {}", server.log());
    }

    /// Takes connections over TLS alone from now on, showing this certificate.
    pub fn speak_tls(&mut self, identity: &Identity) {
        let data = self.folder.path().join("data");
        let secret = self.folder.path().join("server.key");
        std::fs::write(&secret, identity.key.serialize_pem()).unwrap();
        std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        self.programs.own(&secret);
        std::fs::write(data.join("server.crt"), identity.certificate.pem()).unwrap();
        let settings = format!("ssl = on\nssl_key_file = '{}'\n", secret.display());
        std::fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all all scram-sha-256\n").unwrap();
        self.crash();
        self.go_on();
    }

    /// The server that the tests of this process share; it ends with the last of them.
    pub fn shared() -> Arc<Postgres> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Postgres::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// The URL of a new, empty database.
    pub fn database(&self) -> String {
        let name = format!("ltr_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        let made = Command::new(self.programs.folder.join("createdb"))
            .args(["--host=127.0.0.1", "--username", Postgres::USER, "--port", &port, &name])
            .env("PGPASSWORD", Postgres::PASSWORD)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "createdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        let (user, password, port) = (Postgres::USER, Postgres::PASSWORD_IN_URL, self.port);
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}")
    }

    /// Ends the server as a crash does: no connection is told, nothing is flushed.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            self.signal("-QUIT");
            signal("-QUIT", &[server.id()]);
            server.wait().unwrap();
        }
    }

    /// Starts it again, on the same port and the same data.
    pub fn go_on(&mut self) {
        assert!(self.try_go_on(), "{}", self.log());
    }

    /// Freezes every process of the server: connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends a [`Postgres::pause`].
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Whether the server runs and takes connections; `false` where the port was taken.
    fn try_go_on(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let data = self.folder.path().join("data");
        let mut server = self
            .programs
            .command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "fsync=on", "-c", "shared_buffers=16MB"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let start = Instant::now();
        loop {
            let state = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            let mut lines = state.lines().map(str::trim);
            if lines.next() == Some(&server.id().to_string()) && lines.nth(6) == Some("ready") {
                self.server = Some(server);
                return true;
            }
            if server.try_wait().unwrap().is_some() {
                let log = self.log();
                assert!(log.contains("could not bind"), "postgres ended: {log}");
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "postgres does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, name: &str) {
        let Some(server) = &self.server else { return };
        // Children first: the parent would start those anew that end.
        let id = server.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let mut ids: Vec<u32> = children.split_whitespace().map(|id| id.parse().unwrap()).collect();
        ids.push(id);
        signal(name, &ids);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A frozen process takes no other signal.
        self.resume();
        if let Some(mut server) = self.server.take() {
            signal("-QUIT", &[server.id()]);
            let _ = server.wait();
        }
    }
}

/// Where PostgreSQL's programs lie, and whom they run as.
struct Programs {
    folder: PathBuf,
    /// User and group, where we are root, as whom PostgreSQL refuses to run.
    user: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Programs {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        // Debian keeps them out of the path.
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
        let folder = folders
            .into_iter()
            .find(|folder| {
                ["initdb", "postgres", "createdb"]
                    .iter()
                    .all(|name| folder.join(name).exists())
            })
            .expect("PostgreSQL is not installed: run make setup-servers, which installs it");
        let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        Programs {
            folder,
            user: root.then(unprivileged),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn own(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

/// User and group of `postgres`, which Debian's package makes, or else of `nobody`.
fn unprivileged() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(str::parse);
        Some((ids.next()?.ok()?, ids.next()?.ok()?))
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .expect("a system has a user nobody")
}
