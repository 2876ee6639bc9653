# demo: a whole backup on this machine; test: everything (TESTS: arguments for cargo test); bench: side by side with pg_dump (ARGS: --quick, --sets, …; see scripts/bench.sh); lint: all that is no test; fuzz: odd bytes for whatever reads bytes (ARGS: seconds and targets; see scripts/fuzz.sh).
.PHONY: demo test bench lint fuzz
STACK = $(or $(SAVEPOINT_TEST_STACK),target/test-stack)

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
	@scripts/debian-postgres.sh
	@scripts/containers.sh
	@# The tests wait for servers more than they compute.
	@# An error names its cause; the backtrace of an async test hides it.
	@scratch=$$(scripts/test-scratch.sh $$$$) && trap 'rm -rf "$$scratch"' EXIT && export TMPDIR=$$scratch RUST_LIB_BACKTRACE=0 && \
	export RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(nproc) * 2))} && echo cargo test $(TESTS) && cargo test $(TESTS)
	@if [ -s "$(STACK)/debian/skipped" ]; then echo "SKIPPED: the tests of extensions and of PostgreSQL 19: $$(cat "$(STACK)/debian/skipped")" >&2; fi
	@if [ -s "$(STACK)/containers/skipped" ]; then echo "SKIPPED: the tests of the action: $$(cat "$(STACK)/containers/skipped")" >&2; fi

bench:
	@$(call NEEDS,cc:build-essential setpriv:util-linux zstd:zstd python3:python3 pip3:python3-pip)
	@scripts/bench.sh $(ARGS)

lint:
	@$(call NEEDS,cc:build-essential python3:python3 pip3:python3-pip)
	@scripts/lint.sh

fuzz:
	@$(call NEEDS,c++:build-essential)
	@scripts/fuzz.sh $(ARGS)
