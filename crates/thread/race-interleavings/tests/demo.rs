use std::process::{Command, Output};

/// The program that Cargo has built, whatever the package is called.
const DEMO: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn run(args: &[&str]) -> Output {
    Command::new(DEMO).args(args).output().unwrap()
}

fn text_of(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// All orders of three A and three B.
fn orders() -> Vec<String> {
    let mut orders = vec![String::new()];
    for _ in 0..6 {
        let mut longer = Vec::new();
        for order in &orders {
            longer.push(format!("{order}A"));
            longer.push(format!("{order}B"));
        }
        orders = longer;
    }
    orders.retain(|order| order.matches('A').count() == 3);
    assert_eq!(orders.len(), 20);
    orders
}

/// The rows of a timeline, from an independent model.
fn timeline(order: &str) -> (Vec<String>, u32) {
    let mut counter = 0;
    let mut rows = Vec::new();
    let mut loaded = [0; 2];
    let mut done = [0; 2];
    for letter in order.bytes() {
        let thread = usize::from(letter - b'A');
        done[thread] += 1;
        let mut lost = "";
        let text = match done[thread] {
            1 => {
                loaded[thread] = counter;
                format!("load {counter}")
            }
            2 => format!("+1 = {}", loaded[thread] + 1),
            _ => {
                if counter > loaded[thread] {
                    lost = " ← 1 lost";
                }
                counter = loaded[thread] + 1;
                format!("store {counter}")
            }
        };
        let column = " ".repeat(10 * thread) + &text;
        rows.push(format!("{column:<20}{counter}{lost}"));
    }
    (rows, counter)
}

#[test]
fn executes_each_of_the_20_orders() {
    let mut exact = 0;
    for order in orders() {
        let (rows, end) = timeline(&order);
        let text = text_of(&run(&["--order", &order]));
        let expected = format!(
            "A         B         counter     {order}\n{}\n\n\
             {order}: expected 2, counted {end}: {} lost\n",
            rows.join("\n"),
            2 - end
        );
        assert_eq!(text, expected);
        exact += end - 1;
    }
    assert_eq!(exact, 2);
}

#[test]
fn of_20_orders_18_lose_an_update() {
    let text = text_of(&run(&[]));
    for order in ["AAABBB", "AABABB"] {
        assert!(text.contains(&format!("     {order}\n")), "{text}");
        let rows = timeline(order).0.join("\n");
        assert!(text.contains(&rows), "{text}");
    }
    let bars = format!(
        " 18 end at 1 {}\n  2 end at 2 {}\n",
        "█".repeat(3 * 18),
        "█".repeat(3 * 2)
    );
    assert!(text.contains(&bars), "{text}");
    let last = "\n20 orders: 18 lose an update, AAABBB and BBBAAA do not\n";
    assert!(text.ends_with(last), "{text}");
}

#[test]
fn takes_small_letters_and_refuses_what_is_no_order() {
    assert!(text_of(&run(&["--order", "aabbab"])).contains("AABBAB: "));
    for order in ["AABB", "AABBAA", "AAABBBC", "ABCABC", ""] {
        let output = run(&["--order", order]);
        assert_eq!(output.status.code(), Some(2), "{order}");
    }
}
