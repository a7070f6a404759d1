//! hl7apy of PyPI beside the mapper, where it is installed: the same messages, parsed and nothing more. PyPI has no converter from HL7 v2 to
//! FHIR; parsing is what each would begin with, so that the ratio is less than it would be.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{Exit, Failure};

/// Which interpreter is asked, unless this says another.
const PYTHON: &str = "CHARTSEAL_PYTHON";
/// Reads messages, one in a line with its own ends as NUL, and parses them for so many seconds; prints version and rate.
const SCRIPT: &str = r#"
import sys, time
try:
    from importlib.metadata import version
    from hl7apy.parser import parse_message
except ImportError:
    sys.exit(3)
messages = [line.replace("\0", "\r") for line in sys.stdin.read().split("\n") if line]
seconds, count, start = float(sys.argv[1]), 0, time.monotonic()
while time.monotonic() - start < seconds:
    parse_message(messages[count % len(messages)])
    count += 1
print(version("hl7apy"), count / (time.monotonic() - start))
"#;
/// What the script ends with where there is no hl7apy.
const ABSENT: i32 = 3;

/// Its version and messages per second; none where it is not installed.
///
/// # Errors
/// When it is there and does not parse them.
pub fn per_second(messages: &[String], seconds: Duration) -> Result<Option<(String, f64)>, Failure> {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT, &seconds.as_secs_f64().to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return Ok(None) };
    let lines: String = messages.iter().map(|message| message.replace('\r', "\0") + "\n").collect();
    if let Some(mut stdin) = child.stdin.take() {
        // one that ended already says why by its exit code
        drop(stdin.write_all(lines.as_bytes()));
    }
    let failed =
        |what: &str| Failure::new(Exit::Failed, format!("hl7apy: found {what}, expected its version and a rate"));
    let output = child.wait_with_output().map_err(|_| failed("no end"))?;
    if output.status.code() == Some(ABSENT) {
        return Ok(None);
    }
    read(&String::from_utf8_lossy(&output.stdout)).map(Some).ok_or_else(|| failed("something else"))
}

fn read(text: &str) -> Option<(String, f64)> {
    let (version, rate) = text.trim().split_once(' ')?;
    rate.parse().ok().filter(|rate| *rate > 0.0).map(|rate| (version.to_owned(), rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_and_a_rate_are_an_answer() {
        assert_eq!(read("1.3.5 26.4\n"), Some(("1.3.5".into(), 26.4)));
        assert_eq!(["", "1.3.5", "1.3.5 none", "1.3.5 0"].map(read), [const { None }; 4]);
    }
}
