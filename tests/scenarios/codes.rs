//! One-time codes: who must send one, and which ones count (proto/README.md section 6, step 9).

use postern::model::reason::{CodeFault, Drop, Rule};
use postern_proto::{Code, CodeKey, CodeStep};

use crate::knocks::{HOME, Knock};
use crate::world::{ALICE, World, seconds};

pub(crate) const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const HOME_V6: &str = "2001:db8::7";

const MISSING: Rule = Rule::Code(CodeFault::Missing);
const WRONG: Rule = Rule::Code(CodeFault::Wrong);
const USED: Rule = Rule::Code(CodeFault::Used);
const BLOCKED: Rule = Rule::Code(CodeFault::Blocked);

/// Alice must send codes, bob need not.
fn world() -> World {
    World::new(&format!(
        "{ALICE}quota = '100/s'\ntotp = '{SECRET}'\n[[user]]\nname = 'bob'\nkey = BOB\nservices = ['tcp/22']\n"
    ))
}

/// The code that alice's authenticator shows, so many steps ahead.
pub(crate) fn code(world: &World, digits: u32, ahead: i64) -> Code {
    let CodeStep(step) = CodeStep::of(world.now.as_millis());
    let key = CodeKey::from_base32(SECRET, digits.try_into().unwrap()).unwrap();
    key.code(CodeStep(step.saturating_add_signed(ahead)))
}

/// A knock with the right code.
fn right(world: &World) -> Knock {
    Knock::of("alice").code(&code(world, 6, 0))
}

fn guess(digits: &str) -> Knock {
    Knock::of("alice").code(&Code::new(digits).unwrap())
}

#[test]
pub(crate) fn missing_and_wrong_codes_are_refused() {
    let mut world = world();
    world.refuses(HOME, &Knock::of("alice"), MISSING);
    world.refuses(HOME, &guess("000000"), WRONG);
    for ahead in [-2, 2] {
        let knock = Knock::of("alice").code(&code(&world, 6, ahead));
        world.refuses(HOME, &knock, WRONG);
    }
    for ahead in [-1, 0, 1] {
        let knock = Knock::of("alice").code(&code(&world, 6, ahead));
        world.opens(&knock, HOME);
    }
    // Bob has no secret: his code is ignored.
    world.opens(&Knock::of("bob").code(&Code::new("123456").unwrap()), HOME);
}

#[test]
pub(crate) fn a_code_counts_once_for_each_family() {
    let mut world = world();
    let knock = right(&world);
    world.opens(&knock, HOME);
    world.opens(&knock, HOME_V6);
    for source in [HOME, HOME_V6, "198.51.100.9"] {
        world.refuses(source, &knock, USED);
    }
    world.pass(seconds(30));
    world.opens(&right(&world), HOME);
    world.refuses(HOME_V6, &knock, USED);
    world.opens(&right(&world), HOME_V6);
    // A code of an earlier step counts as used in both families.
    let ahead = Knock::of("alice").code(&code(&world, 6, 1));
    world.opens(&ahead, HOME);
    world.refuses(HOME_V6, &right(&world), USED);
    world.opens(&ahead, HOME_V6);
}

#[test]
pub(crate) fn guessing_blocks_the_user() {
    let mut world = world();
    for n in 0..5 {
        world.refuses("198.51.100.9", &guess(&format!("00000{n}")), WRONG);
    }
    world.refuses(HOME, &right(&world), BLOCKED);
    world.opens(&Knock::of("bob"), HOME);
    world.pass(seconds(59));
    world.refuses(HOME, &right(&world), BLOCKED);
    world.pass(seconds(1));
    world.opens(&right(&world), HOME);
    // One guess was forgiven, and after an hour all are.
    world.refuses(HOME, &guess("000000"), WRONG);
    world.refuses(HOME_V6, &right(&world), BLOCKED);
    world.pass(seconds(3600));
    (0..5).for_each(|_| world.refuses(HOME, &guess("000000"), WRONG));
    world.refuses(HOME, &guess("000000"), BLOCKED);
}

#[test]
fn refused_and_closing_knocks_use_no_code() {
    let mut world = world();
    let knock = right(&world);
    world.refuses(HOME, &knock.clone().also(&["tcp/23"]), Rule::Service);
    world.opens(&knock, HOME);
    world.opens(&Knock::of("alice").close(), HOME);
    assert!(world.open().is_empty());
    // A close ignores the code.
    world.opens(&knock.close(), HOME);
}

#[test]
fn the_config_may_ask_for_eight_digits() {
    let mut world = World::new(&format!("{ALICE}totp = '{SECRET}'\ntotp_digits = 8\n"));
    world.refuses(HOME, &right(&world), WRONG);
    let knock = Knock::of("alice").code(&code(&world, 8, 0));
    world.opens(&knock, HOME);
}

#[test]
fn used_and_wrong_codes_survive_a_restart() {
    let mut world = world();
    let knock = right(&world);
    let recorded = knock.sealed(world.now);
    world.admits(HOME, &recorded);
    world.restart_engine();
    world.pass(seconds(2));
    world.drops(HOME, recorded, Drop::Replay);
    world.refuses(HOME, &knock, USED);
    world.opens(&knock, HOME_V6);
    world.restart_engine();
    world.refuses(HOME_V6, &knock, USED);
    for n in 0..5 {
        world.refuses(HOME, &guess(&format!("00000{n}")), WRONG);
        world.pass(seconds(1));
    }
    world.restart_engine();
    world.refuses(HOME, &right(&world), BLOCKED);
}

#[test]
fn no_log_line_contains_a_code() {
    let mut world = world();
    let (code, knock) = (code(&world, 6, 0), right(&world));
    let said: Vec<String> = (0..2)
        .flat_map(|_| world.knock(&knock, HOME).said)
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|line| !line.contains(code.as_str())));
}

#[test]
fn explain_tells_each_code_fault() {
    let mut world = world();
    let used = right(&world);
    world.opens(&used, HOME);
    for (knock, times, says) in [
        (
            Knock::of("alice"),
            1,
            "alice must send a code with each opening knock; set code = \"ask\" or a code_command in the client's profile",
        ),
        (
            used,
            1,
            "a code counts once for IPv4 and once for IPv6; wait for the next one",
        ),
        (guess("000000"), 1, "it is neither the current code nor"),
        (guess("000000"), 5, "five wrong codes came"),
    ] {
        (0..times).for_each(|_| drop(world.knock(&knock, HOME)));
        let line = world.account.as_ref().unwrap().line();
        assert!(
            line.starts_with("refuse code") && line.contains(says) && !line.contains("000000"),
            "{line}"
        );
    }
}
