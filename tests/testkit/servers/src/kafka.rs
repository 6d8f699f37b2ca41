use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rskafka::client::ClientBuilder;
use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use tempfile::TempDir;

use crate::process::{PATIENCE, PORTS, free_port, keep_log, signal};
use crate::seaweed::{Seaweed, tool};

/// A broker of Kafka's protocol (tansu), with one topic. With an object store it keeps what it has over a restart, else not.
pub struct Kafka {
    folder: TempDir,
    port: u16,
    storage: String,
    environment: Vec<(&'static str, String)>,
    /// `None` while it is stopped.
    server: Option<Child>,
}

impl Kafka {
    /// The one topic there is.
    pub const TOPIC: &str = "match_events";
    const BUCKET: &str = "broker";

    /// Keeps records in memory.
    ///
    /// # Panics
    /// Where tansu is not installed or does not start.
    pub fn start(partitions: i32) -> Kafka {
        Kafka::on("memory://tansu/".to_owned(), Vec::new(), partitions)
    }

    /// Keeps records in a bucket of an object store.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn start_on(store: &Seaweed, partitions: i32) -> Kafka {
        store.make_bucket(Kafka::BUCKET);
        let mut environment = store.environment().to_vec();
        environment.push(("AWS_ALLOW_HTTP", "true".to_owned()));
        Kafka::on(format!("s3://{}/", Kafka::BUCKET), environment, partitions)
    }

    fn on(storage: String, environment: Vec<(&'static str, String)>, partitions: i32) -> Kafka {
        let mut broker = Kafka {
            folder: tempfile::tempdir().unwrap(),
            port: 0,
            storage,
            environment,
            server: None,
        };
        for _ in 0..PORTS {
            broker.port = free_port();
            if broker.try_go_on() {
                broker.make_topic(partitions);
                return broker;
            }
        }
        panic!("no free port after {PORTS} attempts: {}", broker.log());
    }

    /// The bus, as `events.bus` names it.
    pub fn url(&self) -> String {
        format!("kafka://127.0.0.1:{}/{}", self.port, Kafka::TOPIC)
    }

    /// The values of all records, a partition after the other.
    pub fn records(&self) -> Vec<Vec<u8>> {
        self.block_on(async {
            let client = self.client().await;
            let topics = client.list_topics().await.unwrap();
            let topic = topics.into_iter().find(|topic| topic.name == Kafka::TOPIC).unwrap();
            let mut values = Vec::new();
            for partition in topic.partitions {
                let partition = client
                    .partition_client(Kafka::TOPIC, partition, UnknownTopicHandling::Retry)
                    .await
                    .unwrap();
                let end = partition.get_offset(OffsetAt::Latest).await.unwrap();
                let mut at = 0;
                while at < end {
                    let (records, _) = partition.fetch_records(at, 1..16 << 20, 500).await.unwrap();
                    let Some(last) = records.last() else { break };
                    at = last.offset + 1;
                    values.extend(records.into_iter().filter_map(|found| found.record.value));
                }
            }
            values
        })
    }

    /// Ends the server at once.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts it again on the same port.
    pub fn go_on(&mut self) {
        assert!(self.try_go_on(), "{}", self.log());
    }

    /// Freezes the server: connections are taken, and nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends a [`Kafka::pause`].
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(server) = &self.server {
            signal(name, &[server.id()]);
        }
    }

    fn make_topic(&self, partitions: i32) {
        self.block_on(async {
            let controller = self.client().await.controller_client().unwrap();
            let made = controller.create_topic(Kafka::TOPIC, partitions, 1, 5_000);
            tokio::time::timeout(PATIENCE, made).await.unwrap().unwrap();
        });
    }

    async fn client(&self) -> rskafka::client::Client {
        let client = ClientBuilder::new(vec![format!("127.0.0.1:{}", self.port)]).build();
        tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap()
    }

    /// Callers are tests with a runtime of their own, and without.
    fn block_on<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(work)
            });
            run.join().unwrap()
        })
    }

    fn try_go_on(&mut self) -> bool {
        let url = format!("tcp://127.0.0.1:{}", self.port);
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut server = Command::new(tool("tansu"))
            .args(["broker", "--listener-url", &url, "--advertised-listener-url", &url])
            .args(["--storage-engine", &self.storage])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        loop {
            if server.try_wait().unwrap().is_some() {
                let log = self.log();
                assert!(log.contains("in use"), "tansu ended: {log}");
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.server = Some(server);
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "tansu does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        keep_log("tansu", &self.log());
        self.crash();
    }
}
