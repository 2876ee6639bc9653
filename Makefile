# demo: a whole backup on this machine; test: everything; bench: side by side with pg_dump; lint: formatting, clippy, shell scripts.
.PHONY: demo test bench lint

# What a bare Debian or Ubuntu lacks is installed when we are root, and named when we are not.
NEEDS = for p in $(1); do command -v $${p%%:*} >/dev/null || missing="$$missing $${p\#\#*:}"; done; \
	[ -z "$$missing" ] || if [ "$$(id -u)" = 0 ]; then \
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $$missing >/dev/null; \
	else echo "missing; install: apt-get install$$missing" >&2; exit 1; fi

demo:
	@$(call NEEDS,cc:build-essential setpriv:util-linux)
	@scripts/demo.sh

test:
	@$(call NEEDS,cc:build-essential setpriv:util-linux)
	@scripts/test-stack.sh
	cargo test

bench:
	@$(call NEEDS,cc:build-essential setpriv:util-linux)
	@scripts/bench.sh

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh .ci/run; else echo 'shellcheck is not installed: scripts were not checked'; fi
