# Everything that people and CI rely on. Each target does its own set-up.

.PHONY: demo run desktop ui contract contract-fuzz test soak bench screenshots clean

HOME_DIR ?= .home
MQTT ?= 127.0.0.1:8883
HTTP ?= 127.0.0.1:8443
HOST ?= localhost
FUZZ_S ?= 120

# A temporary home with six real devices on loopback, end to end.
demo:
	@scripts/setup.sh build
	cargo run --locked --quiet -- demo

# The gateway itself, on a home of its own in $(HOME_DIR), with its interface.
run: ui
	cargo build --locked
	@test -e $(HOME_DIR)/slots.json || cargo run --locked --quiet -- --data-dir $(HOME_DIR) init --home Home --slot keyfile
	cargo run --locked --quiet -- --data-dir $(HOME_DIR) run --mqtt $(MQTT) --http $(HTTP) --host $(HOST)

# The same home in a window of its own: the gateway is in its process, and no browser is needed.
desktop: ui
	@scripts/setup.sh desktop
	cargo run --locked --quiet --package hearthkey-desktop -- --data-dir $(HOME_DIR) --mqtt $(MQTT) --host $(HOST)

# The interface, built for the program to carry.
ui:
	@scripts/setup.sh ui
	@scripts/ui.sh build

# The contract, and the types that the interface has of it, after a handler has changed.
contract:
	@scripts/setup.sh ui
	cargo run --locked --quiet -- openapi > openapi.json
	@scripts/ui.sh api

# Schemathesis over the whole contract, against a home of its own in a network without a way out. It comes from PyPI.
contract-fuzz:
	cargo build --locked
	python3 -m venv --upgrade-deps target/schemathesis >/dev/null
	target/schemathesis/bin/pip install --quiet schemathesis==4.32.5
	PATH="$(CURDIR)/target/schemathesis/bin:$$PATH" scripts/schemathesis.py $${CARGO_TARGET_DIR:-target}/debug/hearthkey --max-examples 50

# All that CI runs. Clippy is the compiler of our own crates here: a pass of its own would compile everything twice.
# Stories wait more than they work, so there are more of them at a time than cores.
test: export RUSTC_WORKSPACE_WRAPPER = clippy-driver
test: export CLIPPY_ARGS = -D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
test: export RUST_TEST_THREADS = 4
test: ui
	@scripts/setup.sh test
	@cargo fetch --locked --quiet
	cargo fmt --all --check
	@scripts/audit.sh
	@scripts/ui.sh check
	cargo test --workspace --locked
	cargo build --workspace --bins --locked
	@scripts/ui.sh journeys

# What takes longer than CI may: thousands of deaths and races, sieges, a real Home Assistant that is restarted twenty
# times, strangers at the door, a million steps against the plain model, years in minutes, fuzzing. About two hours on two cores; FUZZ_S sets
# the seconds of each fuzz target.
soak: export HEARTHKEY_SOAK = 1
soak:
	@scripts/setup.sh test
	cargo test --workspace --locked --lib --test stories -- --nocapture engine::model hostile:: own:: strict::
	cargo test --workspace --locked --test main -- --nocapture soak:: durability:: crash:: siege:: strangers:: whole_home:: rekeyed:: large_log:: restored_home::
	cargo test -p hearthkey-store --locked --test archived -- --nocapture large::
	scripts/fuzz.sh $(FUZZ_S)

# Pictures of every screen, light, dark and on a phone, in ui/screenshots.
screenshots: ui
	@scripts/setup.sh test
	cargo build --locked --workspace --bins
	@SCREENSHOTS=$(CURDIR)/ui/screenshots scripts/ui.sh pictures

# Side by side with mosquitto and OpenBao, where they can be had.
bench:
	@scripts/setup.sh bench
	@scripts/bench.sh

clean:
	cargo clean
