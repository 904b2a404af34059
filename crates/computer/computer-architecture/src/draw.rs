//! The picture: frames inside frames, and what hangs on the buses.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Device, of_kind, reported};
use crate::{Kind, Part};

/// Columns of the screen
const WIDTH: usize = 80;

/// Lines of it that the frames may take
const LINES: usize = 12;

/// Prints the processor: a frame for each part, a box for each thread. Of
/// neighbours that look the same only some are drawn, so that it fits.
pub fn processor(name: &str, online: &BTreeSet<u32>, parts: &[Part]) {
    println!("{}", cut(&format!("processor: {name}"), WIDTH));

    // By their first CPU, and of these the largest first: each frame comes
    // before those inside it. Of equals, the package is first, the core last.
    let mut sorted: Vec<&Part> = parts.iter().collect();
    sorted.sort_by_key(|part| (part.cpus.first(), Reverse(part.cpus.len())));

    let mut picture = Vec::new();
    for alike in [8, 4, 2, 1] {
        picture = draw_inside(online, &sorted, WIDTH, alike);
        if picture.len() <= LINES {
            break;
        }
    }
    for line in picture {
        println!("{line}");
    }

    let mut missing: Vec<&str> = Vec::new();
    if !reported(Kind::Package, online, parts) {
        missing.push("packages");
    }
    if !reported(Kind::Cache, online, parts) {
        missing.push("caches");
    }
    if parts.iter().any(|part| part.name.contains('?')) {
        missing.push("sizes of caches (?)");
    }
    if !reported(Kind::Core, online, parts) {
        missing.push("cores");
    }
    if !missing.is_empty() {
        println!("not reported: {}", missing.join(", "));
    }
}

/// Draws these parts below each other, and the CPUs that are in none of them.
/// Of neighbours that look the same, `most` are drawn and the rest is counted.
fn draw_inside(
    cpus: &BTreeSet<u32>,
    parts: &[&Part],
    width: usize,
    most: usize,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut bare = cpus.clone();
    let frames = split(parts);
    for same in frames.chunk_by(|one, next| look_the_same(one, next)) {
        let mut rest = BTreeSet::new();
        for (i, frame) in same.iter().enumerate() {
            let inside = &frame[0].cpus;
            bare.retain(|cpu| !inside.contains(cpu));
            if i < most {
                lines.extend(draw_frame(frame, width, most));
            } else {
                rest.extend(inside);
            }
        }
        if !rest.is_empty() {
            let count = same.len() - most;
            let text = format!("{count} more like this: {}", threads(&rest));
            lines.push(cut(&text, width));
        }
    }
    lines.extend(draw_boxes(&bare, width, most));
    lines
}

/// The parts, a list for each frame that stands in no other: first the part
/// that the frame is of, then what is inside.
fn split<'a>(parts: &[&'a Part]) -> Vec<Vec<&'a Part>> {
    let mut frames = Vec::new();
    let mut left = parts.to_vec();
    while let Some(outermost) = left.first().copied() {
        // Its CPUs are also among those of the outermost.
        let is_inside = |part: &&Part| part.cpus.is_subset(&outermost.cpus);
        let (inside, outside) = left.into_iter().partition(is_inside);
        frames.push(inside);
        left = outside;
    }
    frames
}

/// Whether two frames differ in nothing but the numbers of CPUs and cores.
fn look_the_same(one: &[&Part], other: &[&Part]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    for (part, twin) in one.iter().zip(other) {
        let same_name = part.kind != Kind::Cache || part.name == twin.name;
        let same_size = part.cpus.len() == twin.cpus.len();
        if part.kind != twin.kind || !same_name || !same_size {
            return false;
        }
    }
    true
}

/// One frame. Parts with the same CPUs share it, if their names fit.
fn draw_frame(parts: &[&Part], width: usize, most: usize) -> Vec<String> {
    let mut title = parts[0].name.clone();
    let mut named = 1;
    for part in &parts[1..] {
        let longer = format!("{title} ── {}", part.name);
        let fits = longer.chars().count() <= width - 4;
        if part.cpus != parts[0].cpus || !fits {
            break;
        }
        title = longer;
        named += 1;
    }
    let within = width - 4;
    let dashes = "─".repeat(within.saturating_sub(title.chars().count()));
    let mut lines = vec![format!("┌ {title} {dashes}┐")];
    for line in draw_inside(&parts[0].cpus, &parts[named..], within, most) {
        lines.push(format!("│ {line:<within$} │"));
    }
    lines.push(format!("└{}┘", "─".repeat(width - 2)));
    lines
}

/// A box for each of the CPUs, in up to `most` lines.
fn draw_boxes(cpus: &BTreeSet<u32>, width: usize, most: usize) -> Vec<String> {
    let cpus: Vec<u32> = cpus.iter().copied().collect();
    let mut lines = Vec::new();
    let mut rest = BTreeSet::new();
    for (i, row) in cpus.chunks(width / 13).enumerate() {
        if i < most {
            let boxes = row.iter().map(|cpu| format!("[thread {cpu}]"));
            lines.push(boxes.collect::<Vec<String>>().join(" "));
        } else {
            rest.extend(row);
        }
    }
    if !rest.is_empty() {
        lines.push(cut(&format!("and {}", threads(&rest)), width));
    }
    lines
}

/// As the kernel writes it: threads 0-3,8.
fn threads(cpus: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let mut words: Vec<String> = Vec::new();
    for (first, last) in ranges {
        if first == last {
            words.push(first.to_string());
        } else {
            words.push(format!("{first}-{last}"));
        }
    }
    let name = if cpus.len() == 1 { "thread" } else { "threads" };
    format!("{name} {}", words.join(","))
}

/// Prints the memory and, bus by bus, the devices.
pub fn buses(memory: u64, devices: &[Device]) {
    let mut buses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for device in devices {
        buses.entry(&device.bus).or_default().push(&device.name);
    }
    let virtual_devices = buses.remove("virtual");

    let mut lines = vec![format!("memory bus: memory {}", gib(memory))];
    for (bus, names) in buses {
        lines.push(format!("bus {bus}: {}", names.join(", ")));
    }
    if devices.is_empty() {
        lines.push("devices not reported".to_string());
    }
    if lines.len() > 4 {
        let more = lines.len() - 3;
        lines.truncate(3);
        lines.push(format!("{more} more buses, not drawn"));
    }
    let last = lines.len() - 1;
    for (i, line) in lines.iter().enumerate() {
        let corner = if i == last { "╙" } else { "╟" };
        println!("  {corner}─ {}", cut(line, WIDTH - 5));
    }
    if let Some(names) = virtual_devices {
        let names = names.join(", ");
        let line = format!("made by the kernel, on no bus: {names}");
        println!("{}", cut(&line, WIDTH));
    }
}

/// Prints a line for each area.
pub fn swap(areas: &[String]) {
    for area in areas {
        println!("{}", cut(&format!("swap: {area}"), WIDTH));
    }
}

/// Prints how many threads share a core, and which caches several cores share.
pub fn sharing(parts: &[Part]) {
    let cores = of_kind(Kind::Core, parts);
    let caches = of_kind(Kind::Cache, parts);

    let mut counts: BTreeSet<usize> = BTreeSet::new();
    for core in &cores {
        counts.insert(core.cpus.len());
    }
    let mut threads: Vec<String> = Vec::new();
    for count in counts {
        threads.push(count.to_string());
    }

    let mut shared: Vec<String> = Vec::new();
    for cache in &caches {
        let mut users = 0;
        for core in &cores {
            if core.cpus.is_subset(&cache.cpus) {
                users += 1;
            }
        }
        if users > 1 && !shared.contains(&cache.name) {
            shared.push(cache.name.clone());
        }
    }

    if cores.is_empty() {
        threads.push("not reported".to_string());
    }
    if cores.is_empty() || caches.is_empty() {
        shared.push("not reported".to_string());
    } else if shared.is_empty() {
        shared.push("none".to_string());
    }
    let threads = threads.join(" or ");
    let shared = shared.join(", ");
    let line = format!("threads in a core: {threads}; cores share: {shared}");
    println!("\n{}", cut(&line, WIDTH));
}

/// The text, cut where the line is full.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let start: String = text.chars().take(width - 1).collect();
    format!("{start}…")
}

pub fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
