//! Many simulated years at once, and shares of them.

use std::num::NonZero;
use std::thread;

use crate::chance::Chance;

/// Runs so many years, each with its own stream of draws, on all processors.
pub fn years<T: Send>(number: u64, seed: u64, year: impl Fn(&mut Chance) -> T + Sync) -> Vec<T> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let share = |worker: u64| {
        let streams = (worker..number).step_by(workers as usize);
        let run = |stream| (stream, year(&mut Chance::new(seed, stream)));
        streams.map(run).collect::<Vec<_>>()
    };
    let mut all: Vec<(u64, T)> = thread::scope(|scope| {
        let runs: Vec<_> = (0..workers).map(|worker| scope.spawn(move || share(worker))).collect();
        let joined = runs
            .into_iter()
            .map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    });
    all.sort_by_key(|(stream, _)| *stream);
    all.into_iter().map(|(_, result)| result).collect()
}

/// The share of the years in which it happened, by a day if one is given.
pub fn share(days: impl IntoIterator<Item = Option<u32>>, by: u32) -> f64 {
    let days: Vec<Option<u32>> = days.into_iter().collect();
    let number = days.len().max(1);
    days.into_iter().flatten().filter(|day| *day <= by).count() as f64 / number as f64
}

/// The middle day of the years in which it happened; `None`: in none.
pub fn median(days: impl IntoIterator<Item = Option<u32>>) -> Option<u32> {
    let mut days: Vec<u32> = days.into_iter().flatten().collect();
    days.sort_unstable();
    (!days.is_empty()).then(|| days[days.len() / 2])
}

/// The value below which this share of them lies, of those there are; 0 without any.
pub fn quantile(values: &[u64], share: f64) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    let at = (share * values.len() as f64) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}
