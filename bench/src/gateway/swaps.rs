//! What it costs that models come in under load: one a second is published, verified, compiled and made the challenger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::processes::Site;
use super::report::{Measured, Report};
use super::{Bench, Request};

const PAUSE: Duration = Duration::from_secs(1);
/// Different models, so that none of them is compiled already.
const MODELS: usize = 64;

impl Bench<'_> {
    pub(super) fn swaps(&self, report: &mut Report) -> Result<()> {
        eprintln!("a model a second ...");
        let names = (0..MODELS).map(|at| format!("swap-{at:02}"));
        let components = names.map(|name| Ok((crate::costs::component(&name, &self.text)?.0, name)));
        let components: Vec<(Vec<u8>, String)> = components.collect::<Result<_>>()?;
        let gateway = self.home.gateway(0.0)?;
        let ended = AtomicBool::new(false);
        let measured = thread::scope(|scope| {
            let swapping = scope.spawn(|| self.swap(&gateway, &components, &ended));
            let load = self.rounds(&[("gateway", &gateway)], Request::Case, None);
            ended.store(true, Ordering::Relaxed);
            let swaps = swapping.join().expect("swapping does not panic")?;
            Ok::<_, anyhow::Error>((load?[0], swaps))
        });
        let (load, swaps) = measured?;
        let case = format!("{}, {swaps} models came in, one a second", Request::Case.name());
        report
            .measured
            .push(Measured::new("gateway", &case, load, gateway.resident_bytes()?));
        Ok(())
    }

    /// Publishes model after model until `ended`, and gives how many.
    fn swap(&self, gateway: &Site, components: &[(Vec<u8>, String)], ended: &AtomicBool) -> Result<usize> {
        for (swaps, (component, version)) in components.iter().enumerate() {
            thread::sleep(PAUSE);
            if ended.load(Ordering::Relaxed) {
                return Ok(swaps);
            }
            self.home.publish(version, component, &self.features)?;
            gateway
                .post(
                    "/models/notify?wait=1",
                    &self.home.token,
                    &json!({ "version": version }),
                )
                .with_context(|| format!("loading {version}"))?;
            let serve = json!({ "weight": 100, "version": version });
            gateway
                .post("/rollout/weight", &self.home.token, &serve)
                .with_context(|| format!("serving {version}"))?;
        }
        Ok(components.len())
    }
}
