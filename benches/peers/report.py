"""Makes results.json, results.md and results.svg of what benches/peers/run measured: usage report.py RESULTS.JSONL DIR MACHINE."""

import json
import math
import statistics
import sys
from pathlib import Path

ROWS = {
    "caller-plain": "Caller lookup, kept plain connection, 50 phones",
    "type-ahead": "Type-ahead, kept plain connection, 50 phones",
    "caller-tls": "Caller lookup, kept TLS connection, 50 phones",
    "new-tls": "New TLS connection (RSA-2048), bind, caller lookup, close, 20 phones",
    "directory": "The whole directory, kept plain connection, 4 phones",
    "storm": "Boot storm: all phones at once, each TLS, bind, search, close",
}
NAMES = {
    "slapd": "slapd itself",
    "samba": "Samba AD itself",
    "pcache": "slapd + pcache",
    "haproxy": "HAProxy",
    "redial": "Redial",
}
COLOURS = {"slapd": "#888", "samba": "#b5a", "pcache": "#c80", "haproxy": "#58c", "redial": "#c22"}


def cpu(used):
    """Microseconds an operation."""
    return used["user_us_per_operation"] + used["system_us_per_operation"]


def figures(run):
    """What counts of one run of the swarm."""
    phones = run["phones"]
    operations = max(phones["operations"], 1)
    search = phones["latency_us"]["operation"]
    codes = {0, 4}
    return {
        "per_second": phones["per_second"],
        "p50_us": search["p50"],
        "p99_us": search["p99"],
        "cpu_us": cpu(phones["server_cpu"]),
        "backend_us": 0.0 if run["backend_us"] is None else run["backend_us"] / operations,
        "swarm_share": cpu(phones["own_cpu"]) * phones["per_second"] / 1e6 / phones["own_cores"],
        "operations": phones["operations"],
        "errors": sum(error["count"] for error in phones["errors"]),
        "refused": sum(result["count"] for result in phones["results"] if result["code"] not in codes),
        "wrong": phones["wrong_answers"],
        "entries_each": phones["entries"] / operations,
    }


def medians(runs):
    """The median of each figure; what went wrong is added up."""
    each = [figures(run) for run in runs]
    middle = {name: statistics.median(figure[name] for figure in each) for name in each[0]}
    middle.update({name: sum(figure[name] for figure in each) for name in ("operations", "errors", "refused", "wrong")})
    return middle


def time(us):
    """For people, in three digits or so."""
    if us < 1000:
        return f"{us:.3g} µs" if us < 100 else f"{us:.0f} µs"
    return f"{us / 1000:.3g} ms" if us < 1e6 else f"{us / 1e6:.3g} s"


def markdown(rows, verify, machine):
    """The tables, and where Redial is not ahead."""
    text = [f"Measured with `benches/peers/run` on {machine}.", ""]
    for row, peers in rows.items():
        text += [f"**{ROWS[row]}**", ""]
        text += ["| | a second | median | 99 % | server CPU each | its backend's | per CPU second of both | errors | refused | wrong |"]
        text += ["|---|---|---|---|---|---|---|---|---|---|"]
        for peer, f in peers.items():
            backend = "" if peer in ("slapd", "samba") else time(f["backend_us"])
            each = max(f["cpu_us"] + f["backend_us"], 1e-9)
            text.append(
                f"| {NAMES[peer]} | {f['per_second']:,.0f} | {time(f['p50_us'])} | {time(f['p99_us'])} | {time(f['cpu_us'])} | {backend} "
                f"| {1e6 / each:,.0f} | {f['errors']:,} | {f['refused']:,} | {f['wrong']:,} |"
            )
        text += [""]
    text += ratios(rows) + behind(rows) + agreement(verify) + share(rows)
    return "\n".join(text) + "\n"


def ratios(rows):
    """Redial's CPU against each peer's with its backend."""
    text = []
    for row, peers in rows.items():
        if "redial" not in peers:
            continue
        own = peers["redial"]["cpu_us"] + peers["redial"]["backend_us"]
        others = [f"{NAMES[p]} {(f['cpu_us'] + f['backend_us']) / own:.1f}" for p, f in peers.items() if p != "redial"]
        text.append(f"- {ROWS[row]}: times Redial's server CPU with its backend's: {', '.join(others)}.")
    return ["Ratios:", ""] + text + [""] if text else []


def behind(rows):
    """Every figure in which somebody is ahead of Redial."""
    text = []
    for row, peers in rows.items():
        redial = peers.get("redial")
        for peer, f in peers.items():
            if redial is None or peer == "redial":
                continue
            if f["per_second"] > redial["per_second"]:
                text.append(f"- {ROWS[row]}: {NAMES[peer]} answers {f['per_second'] / redial['per_second']:.2f} times as many.")
            if f["p99_us"] < redial["p99_us"]:
                text.append(f"- {ROWS[row]}: {NAMES[peer]}'s 99 % is {f['p99_us'] / redial['p99_us']:.2f} of Redial's.")
            if f["cpu_us"] + f["backend_us"] < redial["cpu_us"] + redial["backend_us"]:
                text.append(f"- {ROWS[row]}: {NAMES[peer]} takes less CPU.")
            elif f["cpu_us"] < redial["cpu_us"]:
                text.append(f"- {ROWS[row]}: {NAMES[peer]} by itself takes {f['cpu_us'] / redial['cpu_us']:.2f} of Redial's CPU; its backend's comes on top.")
    return ["Where Redial is not ahead:", ""] + (text or ["- Nowhere in this run."]) + [""]


def agreement(verify):
    """Whether everybody's answers hold as many entries as slapd's."""
    text = []
    for row, peers in verify.items():
        right = peers.get("slapd")
        for peer, entries in peers.items():
            if right is not None and entries != right:
                text.append(f"- {row}: {NAMES[peer]} gives {entries:,} entries, slapd {right:,}.")
    return ["Answers that differ from slapd's, asked the same by one phone:", ""] + (text or ["- None."]) + [""]


def share(rows):
    """How busy the swarm was."""
    busiest = max((f["swarm_share"], ROWS[row], NAMES[peer]) for row, peers in rows.items() for peer, f in peers.items())
    return [f"The swarm used at most {busiest[0]:.0%} of the machine's cores ({busiest[1]}, {busiest[2]})."]


def svg(rows):
    """Operations a CPU second, server and backend together, on a logarithmic scale."""
    peers = [peer for peer in NAMES if any(peer in row for row in rows.values())]
    bar, left, width = 14, 330, 560
    height = sum(len(row) * bar + 26 for row in rows.values()) + 60
    scale = lambda rate: max(0.0, math.log10(max(rate, 1)) / 6 * width)
    text = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-size="15">Operations for a CPU second of server and backend (logarithmic)</text>',
    ]
    for power in range(7):
        x = left + width * power / 6
        text.append(f'<line x1="{x}" x2="{x}" y1="32" y2="{height - 24}" stroke="#ddd"/>')
        text.append(f'<text x="{x}" y="{height - 8}" text-anchor="middle" fill="#555">{10**power:,}</text>')
    y = 46
    for row, figures_of in rows.items():
        text.append(f'<text x="10" y="{y}">{ROWS[row].split(",")[0].split(":")[0]}{", TLS" if row == "caller-tls" else ""}</text>')
        for peer in peers:
            if peer not in figures_of:
                continue
            f = figures_of[peer]
            rate = 1e6 / max(f["cpu_us"] + f["backend_us"], 1e-9)
            text.append(f'<text x="{left - 6}" y="{y + 1}" text-anchor="end" fill="#333">{NAMES[peer]}</text>')
            text.append(f'<rect x="{left}" y="{y - 9}" width="{scale(rate):.1f}" height="{bar - 3}" fill="{COLOURS[peer]}"/>')
            text.append(f'<text x="{left + scale(rate) + 4:.1f}" y="{y + 1}" fill="#333">{rate:,.0f}</text>')
            y += bar
        y += 26
    return "\n".join(text + ["</svg>"]) + "\n"


def main():
    """Reads, writes, and prints the tables."""
    runs = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    folder, machine = Path(sys.argv[2]), sys.argv[3]
    of = lambda row, peer: [run for run in runs if run["row"] == row and run["peer"] == peer]
    rows = {row: {peer: medians(of(row, peer)) for peer in NAMES if of(row, peer)} for row in ROWS}
    checks = dict.fromkeys(run["row"] for run in runs if run["row"].startswith("verify-"))
    verify = {row: {run["peer"]: run["phones"]["entries"] for run in runs if run["row"] == row} for row in checks}
    text = markdown(rows, verify, machine)
    (folder / "results.md").write_text(text)
    (folder / "results.svg").write_text(svg(rows))
    (folder / "results.json").write_text(json.dumps({"machine": machine, "rows": rows, "entries": verify, "runs": runs}, indent=1) + "\n")
    print(text)


main()
