//! Who answers: the gateway, the service that one would otherwise write, and nginx; each on a free loopback port.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use runtime::artefact::Golden;
use runtime::{Engine, Limits, Output};
use serde_json::{Value, json};
use testkit::PATIENCE;
use testkit_gateway::Publisher;

/// Carried inside the program, so that it runs from anywhere.
const SERVICE: &str = include_str!("../../service.py");
const SERVE: &str = include_str!("../../serve.py");

/// A process that answers; stopped on drop, with what it started.
pub(crate) struct Site {
    pub address: SocketAddr,
    /// Until the first answer.
    pub started: Duration,
    child: Child,
}

impl Site {
    /// Starts it, and waits until it answers on `address`.
    ///
    /// # Errors
    /// It cannot be started, ends (with what it last said), or does not answer.
    pub(crate) fn start(mut command: Command, address: SocketAddr, log: &Path) -> Result<Site> {
        let output = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let begun = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        while !answers(address) {
            if let Some(status) = child.try_wait()? {
                let program = command.get_program().display();
                bail!("{program} ended: {status}\n{}", end_of(&fs::read(log)?));
            }
            ensure!(begun.elapsed() < PATIENCE, "nobody answers on {address}");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Site {
            address,
            started: begun.elapsed(),
            child,
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Posts JSON, and takes nothing but JSON and a 2xx.
    ///
    /// # Errors
    /// Nobody answers, or with another status.
    pub(crate) fn post(&self, path: &str, token: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 2"), "POST {path}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        serde_json::from_str(body).with_context(|| format!("POST {path}: {body:?}"))
    }

    /// Processor time that the process itself has taken until now, in seconds.
    pub(crate) fn processor_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .context("processor time is read from /proc, on Linux")?;
        processor_seconds(&stat).with_context(|| format!("the processor time in {stat:?}"))
    }

    /// Resident memory of the process and its children, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<f64> {
        let mut bytes = 0.0;
        let mut pids = vec![self.child.id()];
        while let Some(pid) = pids.pop() {
            let status =
                fs::read_to_string(format!("/proc/{pid}/status")).context("memory is read from /proc, on Linux")?;
            bytes += crate::costs::resident(&status).unwrap_or(0.0);
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        Ok(bytes)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // An orderly end, so that workers and files go with it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// From the kernel's text, in which the name of a program may have spaces: user and system time, in hundredths of a second.
fn processor_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut ticks = after_name.split_whitespace().skip(11).map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / 100.0)
}

/// Whether an HTTP server answers there, whatever it says: a socket may be open long before.
fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<usize> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        stream.read(&mut [0; 16])
    };
    ask().is_ok_and(|read| read > 0)
}

/// The last that a program said, as text: enough to see why it ended.
fn end_of(log: &[u8]) -> String {
    const MOST: usize = 2_000;
    let end = log.get(log.len().saturating_sub(MOST)..).unwrap_or_default();
    String::from_utf8_lossy(end).trim_end().to_owned()
}

/// One that nobody has taken yet. Nobody takes it until its server does, either: connections are made from 127.0.0.1, and
/// there are thousands of them while others are measured.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.2:0")?.local_addr()?)
}

/// The version that serves, and the newer one that is compared with legacy.
pub(crate) const SERVED: &str = "benchmark";
const COMPARED: &str = "compared";

/// A directory with a published model, that gateways start in.
pub(crate) struct Home {
    dir: PathBuf,
    program: PathBuf,
    publisher: Publisher,
    /// What callers show, and the entry that lets them in.
    pub token: String,
    entry: String,
    component: Vec<u8>,
    features: Vec<String>,
}

impl Home {
    /// Publishes `component`, which has these features, as the only model. `program` is the gateway's, which lies beside
    /// this one unless it is said.
    pub(crate) fn new(dir: PathBuf, program: Option<&Path>, component: &[u8], features: &[String]) -> Result<Home> {
        let program = match program {
            Some(program) => std::path::absolute(program)?,
            None => std::env::current_exe()?.with_file_name("ltr-host"),
        };
        let made = Command::new(&program)
            .args(["token", "benchmark"])
            .args(["--role", "rank", "--role", "admin", "--role", "ingest"])
            .output()
            .with_context(|| {
                format!(
                    "{} is missing: `make build` makes the one beside this program, `make dist` the one that serves",
                    program.display()
                )
            })?;
        let made = String::from_utf8(made.stdout)?;
        let (token, entry) = made
            .trim_end()
            .split_once('\n')
            .context("`ltr-host token` gave no entry")?;
        let home = Home {
            publisher: Publisher::new(&dir.join("var/models"), &dir.join("var/keys/trusted")),
            dir,
            program,
            token: token.to_owned(),
            entry: entry.to_owned(),
            component: component.to_vec(),
            features: features.to_vec(),
        };
        home.publish(SERVED, component, features)?;
        Ok(home)
    }

    /// Publishes one more.
    pub(crate) fn publish(&self, version: &str, component: &[u8], features: &[String]) -> Result<()> {
        let row = vec![0.5; features.len()];
        let scorer = Engine::new(Limits::default())?.load(component)?;
        let golden = Golden {
            scores: scorer.score(&row, Output::Converted, PATIENCE)?,
            rows: vec![row.into_iter().map(Some).collect()],
        };
        let features: Vec<&str> = features.iter().map(String::as_str).collect();
        self.publisher.publish(version, &features, component, &[], golden)?;
        Ok(())
    }

    /// The database of the gateways that start here.
    pub(crate) fn database_url(&self) -> String {
        format!("sqlite://{}", self.dir.join("var/ltr.db").display())
    }

    /// A gateway with these settings, as environment variables.
    pub(crate) fn start(&self, settings: &[(&str, String)]) -> Result<Site> {
        let address = free_address()?;
        let mut command = self.program();
        command
            .arg("serve")
            .env("LTR_HOST__LISTEN", address.to_string())
            .env("LTR_ACCESS__TOKENS", format!("[{}]", self.entry))
            // Nobody promotes the models that are measured.
            .env("LTR_HOST__SCORE_CHALLENGER", "true")
            .envs(settings.iter().map(|(name, value)| (name, value)));
        Site::start(command, address, &self.dir.join("gateway.log"))
    }

    /// Waits until a gateway has loaded this model. A gateway that answers may still be loading.
    pub(crate) fn load(&self, site: &Site, version: &str) -> Result<()> {
        let notice = json!({ "version": version });
        let loaded = site.post("/models/notify?wait=1", &self.token, &notice);
        loaded.map(drop).with_context(|| format!("loading {version}"))
    }

    /// A gateway whose model ranks every request. So many of them are also ranked by a second one, with the same
    /// trees, in shadow.
    pub(crate) fn gateway(&self, shadow: f64) -> Result<Site> {
        let site = self.start(&[
            ("LTR_SHADOW__FRACTION", shadow.to_string()),
            // It is measured at its limit, and stays.
            ("LTR_ROLLOUT__EVALUATE_SECONDS", "3600".to_owned()),
        ])?;
        self.load(&site, SERVED)?;
        let serve = json!({ "weight": 100, "version": SERVED });
        site.post("/rollout/weight", &self.token, &serve)
            .context("letting the model serve")?;
        if !self.dir.join("var/models/ltr").join(COMPARED).exists() {
            self.publish(COMPARED, &self.component, &self.features)?;
        }
        self.load(&site, COMPARED)?;
        Ok(site)
    }

    fn program(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.dir).env("LTR_CLIENT__TOKEN", &self.token);
        command
    }
}

/// The service in Python, one worker a processor.
pub(crate) fn service(python: &Path, dir: &Path, model: &Path, features: &[String]) -> Result<Site> {
    fs::write(dir.join("service.py"), SERVICE)?;
    fs::write(dir.join("serve.py"), SERVE)?;
    let address = free_address()?;
    let mut command = Command::new(std::path::absolute(python)?);
    command
        .args(["serve.py", &address.ip().to_string(), &address.port().to_string()])
        .env("MODEL", std::path::absolute(model)?)
        .env("FEATURES", serde_json::to_string(features)?)
        .current_dir(dir);
    Site::start(command, address, &dir.join("service.log"))
}

/// nginx that answers 200 and nothing else: what is left of a request when there is nothing to do.
pub(crate) fn nginx(dir: &Path) -> Result<Site> {
    let address = free_address()?;
    let dir = std::path::absolute(dir)?;
    let at = dir.display();
    let configuration = format!(
        "daemon off; worker_processes auto; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
         fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
         keepalive_requests 100000000;\n\
         server {{ listen {address}; location / {{ return 200 '{{}}'; }} }} }}\n"
    );
    let path = dir.join("nginx.conf");
    fs::write(&path, configuration)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&path).arg("-e").arg(dir.join("nginx.log"));
    Site::start(command, address, &dir.join("nginx.log")).context("nginx is installed by `make setup-bench`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_is_quoted() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1000; echo no such thing >&2; exit 3"]);
        let error = Site::start(command, free_address().unwrap(), log.path()).err().unwrap();
        let said = error.to_string();
        assert!(said.starts_with("sh ended: exit status: 3\n"), "{said}");
        assert!(said.ends_with("\n1000\nno such thing") && said.len() < 2_100, "{said}");
    }

    #[test]
    fn processor_time_is_read_from_the_kernels_text() {
        let stat = "77 (a (b) c) S 1 77 77 0 -1 4194560 9 0 0 0 150 50 7 7 20 0 3 0 12345 1 1";
        assert_eq!(processor_seconds(stat), Some(2.0));
        assert_eq!(processor_seconds("77 (a) S 1"), None);
    }
}
