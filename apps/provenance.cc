#include "provenance.h"

#include <mujoco/mujoco.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "drop/base/files.h"
#include "drop/base/json.h"
#include "drop/base/system_report.h"

namespace drop {

void write_provenance(const RunFolder& folder, const TrainingData& data, const Config& config,
                      const Runtime& runtime, const std::string& engine,
                      const std::string& command_line, int64_t resumed_from) {
  nlohmann::ordered_json json;
  for (const Report& report : {build_report(), machine_report(), runtime_report(runtime)}) {
    for (const auto& [name, value] : report) json[name] = value;
  }
  json["engine"] = engine;
  json["mujoco"] = mj_versionString();
  json["data"] = data.facts;
  json["reward_scale"] = data.origin.reward_scale;
  json["reward_shift"] = data.origin.reward_shift;
  json["seed"] = config.seed;
  json["eval_seed"] = config.eval.seed;
  json["command_line"] = command_line;
  // a resumed run keeps what earlier sessions wrote
  nlohmann::ordered_json sessions = nlohmann::ordered_json::array();
  if (std::filesystem::exists(folder.provenance())) {
    const auto before =
        nlohmann::ordered_json::parse(read_text_file(folder.provenance()), nullptr, false);
    if (before.is_object() && before.contains("sessions") && before["sessions"].is_array()) {
      sessions = before["sessions"];
    }
  }
  sessions.push_back(
      {{"from_step", resumed_from}, {"command_line", command_line}, {"commit", json["commit"]}});
  json["sessions"] = sessions;
  write_file_atomically(folder.provenance(), json_text(json));
}

}  // namespace drop
