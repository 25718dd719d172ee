#include "drop/search/ascent_engine.h"

#include "drop/base/error.h"
#include "search/autograd_ascent.h"
#include "search/fused_ascent.h"

namespace drop {

AscentOptions AscentOptions::from(const SearchConfig& config, double bound) {
  AscentOptions options;
  options.bound = bound;
  options.steps = config.ascent_steps;
  options.step_size = config.ascent_step_size;
  options.clip = config.clip;
  options.normalise_gradient = config.normalise_gradient;
  options.keep_best_iterate = config.keep_best_iterate;
  return options;
}

std::unique_ptr<AscentEngine> make_ascent_engine(AscentEngineKind kind, Precision precision,
                                                 const DropModel& model) {
  const bool on_cpu = model.parameters().flat().is_cpu();
  if (kind == AscentEngineKind::kAuto)
    kind = on_cpu ? AscentEngineKind::kCpu : AscentEngineKind::kCuda;
  switch (kind) {
    case AscentEngineKind::kAuto:
    case AscentEngineKind::kAutograd:
      if (precision == Precision::kBf16) {
        throw UsageError(
            "precision: found bf16 with search.engine: autograd; allowed: auto, fp32, tf32 (CUDA); "
            "set search.engine: auto");
      }
      return std::make_unique<AutogradAscent>(model);
    case AscentEngineKind::kCpu:
      if (on_cpu) return std::make_unique<FusedAscent>("cpu", model, precision);
      break;
    case AscentEngineKind::kCuda:
#ifdef DROP_WITH_CUDA
      if (!on_cpu) return std::make_unique<FusedAscent>("cuda", model, precision);
#endif
      break;
  }
  throw UsageError("search.engine: found " + to_string(kind) + " on " +
                   model.parameters().flat().device().str() + "; allowed there: auto, autograd, " +
                   (on_cpu ? "cpu" : "cuda"));
}

}  // namespace drop
