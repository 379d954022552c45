use super::*;

#[test]
fn the_default_machine_is_x64_with_the_exerciser() {
    let text = Simulation::default().to_string();
    assert_eq!(text, "simulated machine x64, device exerciser");
}

#[test]
fn the_option_makes_the_same_machine_again() {
    for text in [
        "x64",
        "x64-dmar,device=edu",
        "x64,scheduling=straight",
        "x64,scheduling=threads,processors=4,seed=9,map-registers=2,double-buffer=on",
        "x64,processors=3,scheduling=threads,versions=2,msi=off",
        "x64,scheduling=deterministic",
        "x64,policy=pct:3,processors=1,seed=5",
        "x64,policy=replay:7.12a3bc",
        "x64,fail=12+57",
        "x64,fail=random:30",
        "arm64,leave-out=KeFlushIoBuffers,go-on=on",
        "nt,seed=4",
        "x64,device=slave,system-dma=on",
        "nt,device=edu,system-dma=off",
        "nt,device=slave",
        "x64,inject=stall:0:5+ignored-abort:0:5",
    ] {
        let simulation: Simulation = text.parse().unwrap();
        assert_eq!(simulation.option().parse(), Ok(simulation));
    }
}

#[test]
fn what_does_not_exist_is_answered_with_what_does() {
    let error = "mips".parse::<Simulation>().unwrap_err();
    assert!(error.contains("`mips`") && error.contains("x64, x64-dmar"), "{error}");
    let error = "x64,device=toaster".parse::<Simulation>().unwrap_err();
    assert!(error.contains("exerciser, edu, slave"), "{error}");
    let error = "x64-dmar,device=slave".parse::<Simulation>().unwrap_err();
    assert!(error.contains("not available on x64-dmar") && error.contains("system-dma=on"));
    for text in ["", "x64,", "x64,edu", "x64,colour=red", "x64,seed=-1", "x64,versions=4"] {
        assert!(text.parse::<Simulation>().is_err(), "{text}");
    }
}

#[test]
fn an_option_that_is_given_twice_is_refused() {
    for text in ["x64,seed=1,seed=2", "x64,device=edu,device=edu", "x64,fail=1,go-on=on,fail=2"] {
        let error = text.parse::<Simulation>().unwrap_err();
        assert!(error.contains("is given twice"), "{text}: {error}");
    }
}

#[test]
fn what_contradicts_the_scheduler_is_refused_in_any_order() {
    for text in [
        "x64,scheduling=straight,processors=2",
        "x64,processors=2,scheduling=straight",
        "x64,scheduling=straight,policy=random",
        "x64,policy=random,scheduling=threads",
    ] {
        let error = text.parse::<Simulation>().unwrap_err();
        assert!(error.contains("means nothing with scheduling="), "{text}: {error}");
    }
}

#[test]
fn a_system_dma_controller_can_be_taken_away_where_nothing_needs_it() {
    let machine: Simulation = "nt,device=edu,system-dma=off".parse().unwrap();
    assert!(!machine.has_system_dma());
    for text in ["nt,device=slave,system-dma=off", "x64,system-dma=off,device=slave"] {
        let error = text.parse::<Simulation>().unwrap_err();
        assert!(error.contains("takes it away"), "{text}: {error}");
    }
}

#[test]
fn faults_are_injected_into_the_exerciser_only() {
    let error = "x64,inject=stall,device=edu".parse::<Simulation>().unwrap_err();
    assert!(error.contains("device=exerciser"), "{error}");
}
