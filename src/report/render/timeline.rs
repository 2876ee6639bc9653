//! The phases of a run as bars beside each other: what took the time, and what went on at the same time.

use crate::report::{
    PhaseTime,
    format::{clean, seconds},
};

/// Signs that the whole run is wide.
const WIDTH: usize = 32;

/// A line for each phase: its name, its bar, its time.
pub(super) fn lines(phases: &[PhaseTime]) -> Vec<String> {
    let end = phases.iter().map(|p| p.from + p.seconds).fold(0.0, f64::max);
    let names: Vec<String> = phases.iter().map(|p| clean(&p.name).into_owned()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, phase): (&String, &PhaseTime)| {
        let (from, to) = (column(phase.from, end), column(phase.from + phase.seconds, end));
        // However short, it was there.
        let from = from.min(WIDTH - 1);
        let to = to.clamp(from + 1, WIDTH);
        let bar = format!("{}{}{}", " ".repeat(from), "█".repeat(to - from), " ".repeat(WIDTH - to));
        format!("{name:<width$}  {bar}  {:>11}", seconds(phase.seconds))
    };
    names.iter().zip(phases).map(line).collect()
}

fn column(at: f64, end: f64) -> usize {
    if end > 0.0 { (at / end * WIDTH as f64).round() as usize } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn each_phase_has_its_place() {
        let shown = lines(&fixture::proven().phases).join("\n");
        insta::assert_snapshot!("timeline", shown);
        let odd = [(0.0, 0.0), (f64::NAN, 1.0), (-1.0, f64::INFINITY), (5.0, 1e300)];
        for odd in odd {
            let phases = [PhaseTime { name: "x\n".into(), from: odd.0, seconds: odd.1 }];
            let shown = lines(&phases);
            assert!(shown[0].chars().count() < 400 && !shown[0].contains('\n'), "{shown:?}");
        }
    }
}
