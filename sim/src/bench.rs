//! The simulation's speed, beside that of the runtime alone.
//!
//! Both deliver equally many messages in one run, on one thread, measured in CPU time: on a machine
//! that others use too, only the ratio means something.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use harness::{
    sweep::thread_cpu,
    tally::{Tally, Topic},
    text,
};
use madsim::{net::Endpoint, runtime::Runtime};
use serde_json::json;

use crate::{run::run, swarm};

/// Runs of the standard scenario: enough for more than a second of CPU time.
const RUNS: u64 = 500;
/// The tag of the bare loop's messages.
const TAG: u64 = 1;

struct Measured {
    messages: u64,
    simulated: Duration,
    cpu: Duration,
    bare_cpu: Duration,
}

/// Measures and prints. The scenario must hold, or the figures are worth nothing.
pub fn command(as_json: bool) -> Result<bool> {
    let measured = measure()?;
    let rate = |cpu: Duration| measured.messages as f64 / cpu.as_secs_f64();
    let (ours, bare) = (rate(measured.cpu), rate(measured.bare_cpu));
    let simulated = measured.simulated.as_secs_f64() / measured.cpu.as_secs_f64();
    if as_json {
        let json = json!({
            "runs": RUNS,
            "messages": measured.messages,
            "messages_per_cpu_second": ours,
            "bare_messages_per_cpu_second": bare,
            "ratio": ours / bare,
            "simulated_seconds_per_cpu_second": simulated,
        });
        text::print(&format!("{json:#}"))?;
        return Ok(true);
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["", "messages", "CPU s", "messages per CPU s"]);
    let mut row = |name: &str, cpu: Duration| {
        let cpu_s = format!("{:.2}", cpu.as_secs_f64());
        let messages = measured.messages.to_string();
        table.add_row([name.into(), messages, cpu_s, format!("{:.0}", rate(cpu))]);
    };
    row("the standard scenario: 5 nodes, R = 3, 4 clients, faults", measured.cpu);
    row("a bare loop over the runtime's endpoints", measured.bare_cpu);
    text::print(&table.to_string())?;
    text::print(&format!("ratio of the rates: {:.2}", ours / bare))?;
    text::print(&format!("simulated seconds per CPU second: {simulated:.0}"))?;
    Ok(true)
}

/// Measures on a fresh thread, as a sweep runs its seeds.
fn measure() -> Result<Measured> {
    let thread = std::thread::spawn(|| {
        let mut tally = Tally::default();
        let mut simulated_us = 0;
        let before = thread_cpu();
        for seed in 0..RUNS {
            let verdict = run(&swarm::standard(seed), false);
            let failed = verdict.violation;
            ensure!(failed.is_none(), "the standard scenario failed at seed {seed}: {failed:?}");
            tally.merge(&verdict.tally);
            simulated_us += verdict.simulated_us;
        }
        let cpu = thread_cpu() - before;
        let messages = tally.count(Topic::Message, "delivered");
        let before = thread_cpu();
        bare_loop(messages)?;
        let bare_cpu = thread_cpu() - before;
        Ok(Measured { messages, simulated: Duration::from_micros(simulated_us), cpu, bare_cpu })
    });
    thread.join().map_err(|_| anyhow::anyhow!("the measurement panicked"))?
}

/// Two nodes, one that sends and one that receives.
fn bare_loop(messages: u64) -> Result<()> {
    let runtime = Runtime::with_seed_and_config(0, madsim::Config::default());
    let from: SocketAddr = "10.0.0.1:1".parse()?;
    let to: SocketAddr = "10.0.0.2:1".parse()?;
    let sender = runtime.create_node().ip(from.ip()).build();
    let receiver = runtime.create_node().ip(to.ip()).build();
    runtime.block_on(async move {
        let receiving = receiver.spawn(async move {
            let endpoint = Endpoint::bind(to).await?;
            let mut buffer = [0; 64];
            for _ in 0..messages {
                endpoint.recv_from(TAG, &mut buffer).await?;
            }
            Ok::<(), std::io::Error>(())
        });
        let sending = sender.spawn(async move {
            let endpoint = Endpoint::bind(from).await?;
            // The receiver is bound before the first message arrives.
            madsim::time::sleep(Duration::from_secs(1)).await;
            for _ in 0..messages {
                endpoint.send_to(to, TAG, &[0; 40]).await?;
            }
            Ok::<(), std::io::Error>(())
        });
        sending.await??;
        receiving.await??;
        Ok::<(), anyhow::Error>(())
    })
}
