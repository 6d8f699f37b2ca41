//! The background of the release controller.
//!
//! One task per job, so that none waits for another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::controller::{Controller, OrderError};
use super::edge::EdgeDir;
use super::offering::keep_offering;
use crate::http::clock::wall;

/// The pause between two reports of a gateway, at most.
const REPORT: Duration = Duration::from_secs(2);
/// The pause before another attempt to listen for changes.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// Models that the state names are looked for this often, if publications are not.
const MISSING_MODELS: Duration = Duration::from_secs(5);
/// Most that a look may be late before its gateway says that it does not follow.
const LATE: Duration = Duration::from_secs(5);
/// The pause between two looks at the outbox.
const DELIVER: Duration = Duration::from_millis(500);
/// Reports of gateways that are gone are removed after this time.
const GONE: Duration = Duration::from_secs(3_600);

/// Starts the tasks, which end with the controller. `poll`: the pause between two looks at the record;
/// `publications`: between two looks for publications, `None`: never.
pub fn start(controller: &Arc<Controller>, poll: Duration, publications: Option<Duration>) {
    controller.is_restored.store(true, Ordering::Relaxed);
    let weak = Arc::downgrade(controller);
    supervise("follow", weak.clone(), move |controller| follow(controller, poll));
    supervise("report", weak.clone(), report);
    supervise("keep_lease", weak.clone(), keep_lease);
    supervise("evaluate", weak.clone(), evaluate);
    supervise("deliver", weak.clone(), deliver);
    supervise("find", weak, move |controller| find(controller, publications));
}

/// Starts the task that offers Envoys what serves, which ends with the controller. `is_killed`: whether
/// the kill switch is on.
pub fn start_offering(
    controller: &Arc<Controller>,
    dir: EdgeDir,
    is_killed: impl Fn() -> bool + Clone + Send + Sync + 'static,
) {
    let dir = Arc::new(dir);
    let offer = move |controller| keep_offering(controller, dir.clone(), is_killed.clone());
    supervise("offer", Arc::downgrade(controller), offer);
}

type Weak = std::sync::Weak<Controller>;

/// Runs a task, and again if it panics: a gateway that no longer follows or watches must not go on as
/// if nothing had happened.
fn supervise<F>(name: &'static str, controller: Weak, task: impl Fn(Weak) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while let Err(error) = tokio::spawn(task(controller.clone())).await {
            tracing::error!("a task of the release controller ended and begins again: {name}: {error}");
            sleep(LISTEN_AGAIN).await;
        }
    });
}

/// Follows the record: at once where the database says that it changed, else after `poll`.
async fn follow(controller: Weak, poll: Duration) {
    let mut changes = None;
    let mut listen_at = Instant::now();
    let mut said = String::new();
    loop {
        let Some(controller) = controller.upgrade() else { return };
        if changes.is_none() && Instant::now() >= listen_at {
            changes = controller.store.changes().await.ok();
            listen_at = Instant::now() + LISTEN_AGAIN;
        }
        look(&controller, &mut said).await;
        let wake = controller.wake.clone();
        drop(controller);
        tokio::select! {
            () = sleep(poll) => {}
            () = wake.notified() => {}
            heard = heard(&mut changes) => if !heard { changes = None },
        }
    }
}

/// Whether the database said that something changed; `false`: it cannot say so any more.
async fn heard(changes: &mut Option<store::Changes>) -> bool {
    match changes {
        Some(changes) => changes.next().await.is_ok(),
        None => std::future::pending().await,
    }
}

async fn look(controller: &Controller, said: &mut String) {
    match controller.look().await {
        Ok(()) => {
            if !said.is_empty() {
                tracing::info!("the rollout's record is followed again");
                said.clear();
            }
        }
        Err(error) => {
            let problem = error.to_string();
            if !controller.was_seen_within(LATE) || !matches!(error, OrderError::Store(_)) {
                controller.note_problem(&problem);
            }
            if *said != problem {
                tracing::warn!("the rollout's record cannot be followed: {problem}");
                *said = problem;
            }
        }
    }
    if !controller.missing().is_empty() {
        controller.load.notify_one();
    }
}

/// Reports what this gateway does, and refreshes what `GET /rollout` shows.
async fn report(controller: Weak) {
    loop {
        let (pause, changed) = {
            let Some(controller) = controller.upgrade() else { return };
            // The follower says what is wrong with the database.
            let _ = controller.report().await;
            let _ = controller.refresh_snapshot().await;
            (REPORT.min(controller.config.evaluate / 2), controller.changed.clone())
        };
        tokio::select! {
            () = changed.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Renews the lease while an evaluation goes on, or tries to get it.
async fn keep_lease(controller: Weak) {
    loop {
        let pause = {
            let Some(controller) = controller.upgrade() else { return };
            if let Ok(Some(_)) = controller.take_lease().await {
                let _ = controller.store.prune_gateways(GONE).await;
            }
            controller.config.lease / 3
        };
        sleep(pause).await;
    }
}

/// Evaluates, after each interval or when the injected clock says so.
async fn evaluate(controller: Weak) {
    let mut next = Instant::now();
    let mut said = String::new();
    loop {
        let Some(strong) = controller.upgrade() else { return };
        let now = match &strong.stepped {
            None => {
                let interval = strong.config.evaluate;
                drop(strong);
                sleep_until(next).await;
                // Not behind time: after a pause of the machine there is one evaluation, not all of them.
                next = (next + interval).max(Instant::now());
                wall()
            }
            Some(stepped) => {
                let due = tokio::time::timeout(LISTEN_AGAIN, stepped.due()).await;
                let Ok(due) = due else { continue };
                due
            }
        };
        let Some(controller) = controller.upgrade() else { return };
        match controller.evaluate(now).await {
            Ok(_) => said.clear(),
            Err(error) => {
                drop(controller);
                // Once, and not at each interval of an outage.
                let problem = error.to_string();
                if said != problem {
                    tracing::warn!("the rollout cannot be evaluated: {problem}");
                    said = problem;
                }
                sleep(LISTEN_AGAIN).await;
            }
        }
    }
}

/// Delivers what the outbox owes, while this gateway holds the lease.
async fn deliver(controller: Weak) {
    loop {
        {
            let Some(controller) = controller.upgrade() else { return };
            if controller.holds_lease() {
                let still = || controller.holds_lease();
                // The follower says what is wrong with the database.
                let _ = controller.courier.deliver_due(&controller.store, &still).await;
            }
        }
        sleep(DELIVER).await;
    }
}

/// Looks for publications, and for models that the state names.
async fn find(controller: Weak, publications: Option<Duration>) {
    let mut next = Instant::now();
    loop {
        let load = {
            let Some(controller) = controller.upgrade() else { return };
            if let Some(pause) = publications.filter(|_| Instant::now() >= next) {
                controller.find_publications().await;
                next = Instant::now() + pause;
            } else {
                controller.load_missing().await;
            }
            controller.load.clone()
        };
        let soon = publications.unwrap_or(MISSING_MODELS).min(MISSING_MODELS);
        tokio::select! {
            () = load.notified() => {}
            () = sleep(soon) => {}
        }
    }
}
