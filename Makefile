# `make` alone lists the targets.
.PHONY: help lecture test lint docs

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

lecture: ## build and show every demo, in the order of the lecture
	scripts/lecture.sh

test: ## test every demo, the repository, and each demo copied out alone
	cargo test
	scripts/check-repo.sh
	scripts/check-copy-out.sh

lint: ## formatting, clippy, and shellcheck where there is one
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings -D clippy::undocumented_unsafe_blocks
	@if command -v shellcheck; then shellcheck scripts/*.sh .ci/run; else echo "no shellcheck here"; fi

docs: ## what the demos say of themselves, as pages under target/doc
	cargo doc --no-deps --document-private-items
