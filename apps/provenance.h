#pragma once

#include <cstdint>
#include <string>

#include "drop/config/config.h"
#include "drop/nn/runtime.h"
#include "drop/train/run_folder.h"
#include "drop/train/training_data.h"

namespace drop {

/// Writes a run's provenance.json: build, machine, data, seeds, command line. A run that goes on
/// keeps what its earlier sessions wrote.
/// @param engine        what computes the training steps
/// @param resumed_from  step that this session begins at
void write_provenance(const RunFolder& folder, const TrainingData& data, const Config& config,
                      const Runtime& runtime, const std::string& engine,
                      const std::string& command_line, int64_t resumed_from);

}  // namespace drop
