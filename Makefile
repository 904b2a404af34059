# `make` alone lists the targets.
.PHONY: help setup lecture deck book handout test test-deck test-book test-clusters lint docs picture

# Where there is no MPI its demos cannot be built.
packages = --workspace $$(scripts/setup.sh --check mpi || echo '--exclude=mpi-*')

# Clippy's default lints, and what makes a reader stop: each of these has a plain form.
lints = undocumented_unsafe_blocks multiple_unsafe_ops_per_block \
	allow_attributes_without_reason let_underscore_must_use let_underscore_untyped \
	cognitive_complexity too_many_lines type_complexity fn_params_excessive_bools \
	needless_for_each explicit_iter_loop explicit_into_iter_loop \
	manual_let_else needless_continue option_option \
	semicolon_if_nothing_returned unneeded_field_pattern unnested_or_patterns \
	cast_lossless precedence_bits unreadable_literal unseparated_literal_suffix \
	enum_glob_use items_after_statements many_single_char_names \
	mixed_read_write_in_expression needless_pass_by_value uninlined_format_args \
	min_ident_chars shadow_unrelated from_iter_instead_of_collect disallowed_methods

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s%s\n", $$1, $$2 }' Makefile

setup: ## look for what the demos of tools need, and install it if possible (not if SETUP=0)
	@scripts/setup.sh

lecture: ## build and show every demo, in the order of the lecture
	scripts/lecture.sh

deck: ## the lecture as slides that run the demos (scripts/deck.sh --help: notes, HTML)
	@scripts/deck.sh

book: setup ## the lecture as pages for a browser, each demo with its recorded run
	@scripts/book.sh

handout: setup ## the same, and as one PDF
	@scripts/book.sh --handout

test: setup ## test the repository, and every demo: copied out alone, and where little is allowed
	scripts/check-repo.py
	scripts/check-copy-out.py
	scripts/check-lecture.py
	scripts/soak.py all 1 free help no-reader no-proc

test-deck: ## give the whole lecture by its slides, in a terminal of 80 x 24 and of 120 x 36
	scripts/check-deck.py

test-book: setup ## make the book, and look at it in a headless Chromium
	scripts/check-book.py

test-clusters: ## run the job array on Slurm, PBS and Condor (as root; downloads a Debian)
	scripts/cluster/try.sh slurm pbs condor

lint: setup ## formatting, clippy, and shellcheck where there is one
	cargo fmt --all --check
	cargo clippy $(packages) --all-targets -- -D warnings $(lints:%=-D clippy::%)
	@if command -v shellcheck; then shellcheck scripts/*.sh scripts/cluster/*.sh scripts/cluster/job.slurm scripts/cluster/job.pbs .ci/run; else echo "no shellcheck here"; fi

docs: ## what the demos say of themselves, as pages under target/doc
	cargo doc $(packages) --no-deps --document-private-items

picture: ## draw the README's picture of a run again (with rich-cli, from PyPI)
	python3 -m venv target/picture
	target/picture/bin/pip install -q rich-cli
	(echo '$$ cargo run -p race-condition'; cargo run -qp race-condition) | \
		target/picture/bin/rich - -w 80 --export-svg target/picture/run.svg
	sed 's/>Rich</>race-condition</' target/picture/run.svg >.github/run.svg
