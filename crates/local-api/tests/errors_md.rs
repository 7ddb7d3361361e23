//! `docs/errors.md` is made from the list of codes. `PENPAL_WRITE_DOCS=1 cargo test -p penpal-local-api --test errors_md`
//! writes it anew.

use std::fmt::Write;
use std::path::Path;

use penpal_local_api::error::ErrorCode;

const HEAD: &str = "\
# Errors

Made from `crates/local-api/src/error.rs` by `PENPAL_WRITE_DOCS=1 cargo test -p penpal-local-api --test errors_md`; a test compares the two.

A command that fails with one of these codes prints one line of fact and a `hint:` line on standard error. With `--json` it also prints
`{\"v\":1,\"error\":{\"code\":…,\"message\":…,\"hint\":…,\"candidates\":[…]}}` on standard output; `hint` and `candidates` are left out when there are
none. A command that failed after it had something to tell, such as `send` of a message that was refused or did not arrive in time, prints both in one shape:
`error` stands beside the other fields. The local API answers failures in the same shape. The hint of a failure may be more exact than the usual remedy below.

What a relay refused, and every defect, has a name that can be quoted: `request: m4x9q2-17` on standard error, `\"request\"` in JSON. `penpal daemon logs` has a line with
it, which says what was asked and what was answered; of a refusal the relay's log has one too, with the same name, so that whoever runs the relay finds it without
being told an account. Nobody can read anything else from the name.

## Exit statuses of `penpal`

| status | means |
| --- | --- |
| 0 | done; for `send`: durable on this machine and not refused |
| 1 | refused or failed |
| 2 | usage |
| 3 | no node, or this shell may not reach it |
| 4 | a person must decide |
| 5 | accepted, but what `--wait` waited for did not come in time: do not send again |
| 70 | a defect of penpal |
| 130 | ended by Ctrl-C or another signal |

`penpal-relay` exits with 0, 1, 2, 4 or 70 in the same sense; its codes stand in [operations.md](operations.md#codes-of-failures).

## Codes

| code | status | means | usual remedy |
| --- | --- | --- | --- |
";

fn document() -> String {
    let mut text = HEAD.to_owned();
    for code in ErrorCode::ALL {
        // A bar would end the cell.
        let cell = |text: &str| text.replace('|', "\\|");
        let (meaning, remedy) = (cell(code.meaning()), cell(code.remedy()));
        writeln!(text, "| `{}` | {} | {meaning} | {remedy} |", code.as_str(), code.exit_status())
            .expect("writing to a string");
    }
    text
}

#[test]
fn the_document_lists_every_code_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let expected = document();
    if std::env::var_os("PENPAL_WRITE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &expected).expect("docs/errors.md can be written");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/errors.md does not fit the code: PENPAL_WRITE_DOCS=1 cargo test -p penpal-local-api --test errors_md"
    );
}

#[test]
fn the_document_explains_every_exit_status_in_use() {
    for code in ErrorCode::ALL {
        let row = format!("\n| {} | ", code.exit_status());
        assert!(
            HEAD.contains(&row),
            "exit status {} of {} is not explained",
            code.exit_status(),
            code.as_str()
        );
    }
}
