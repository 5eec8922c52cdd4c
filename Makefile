# Everything that people and CI rely on. Each target does its own set-up.

.PHONY: demo run test fmt lint audit bench clean

HOME_DIR ?= .home
MQTT ?= 127.0.0.1:8883
HOST ?= localhost

# A temporary home with six real devices on loopback, end to end.
demo:
	@scripts/setup.sh build
	cargo run --locked --quiet -- demo

# The gateway itself, on a home of its own in $(HOME_DIR).
run:
	@scripts/setup.sh build
	cargo build --locked
	@test -e $(HOME_DIR)/slots.json || cargo run --locked --quiet -- --data-dir $(HOME_DIR) init --home Home --slot keyfile
	cargo run --locked --quiet -- --data-dir $(HOME_DIR) run --mqtt $(MQTT) --host $(HOST)

# All that CI runs.
test:
	@scripts/setup.sh test
	@cargo fetch --locked --quiet
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@scripts/audit.sh
	cargo test --workspace --locked

# Side by side with mosquitto and OpenBao, where they can be had.
bench:
	@scripts/setup.sh bench
	@scripts/bench.sh

clean:
	cargo clean
