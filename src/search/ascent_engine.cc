#include "drop/search/ascent_engine.h"

#include "drop/base/error.h"
#include "search/autograd_ascent.h"

namespace drop {

AscentOptions AscentOptions::from(const SearchConfig& config) {
  AscentOptions options;
  options.steps = config.ascent_steps;
  options.step_size = config.ascent_step_size;
  options.clip = config.clip;
  options.normalise_gradient = config.normalise_gradient;
  options.keep_best_iterate = config.keep_best_iterate;
  return options;
}

std::unique_ptr<AscentEngine> make_ascent_engine(AscentEngineKind kind, const DropModel& model) {
  switch (kind) {
    case AscentEngineKind::kAuto:
    case AscentEngineKind::kAutograd:
      return std::make_unique<AutogradAscent>(model);
    case AscentEngineKind::kCpu:
    case AscentEngineKind::kCuda:
      break;
  }
  throw UsageError("search.engine: found " + to_string(kind) +
                   "; allowed in this version: auto, autograd");
}

}  // namespace drop
