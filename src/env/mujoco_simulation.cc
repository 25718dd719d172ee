#include "env/mujoco_simulation.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>

#include "drop/base/error.h"

namespace drop {

namespace {

static_assert(std::is_same_v<mjtNum, double>, "MuJoCo must be built in double precision");

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

void throw_error(const char* message) {
  throw RunError("MuJoCo error: " + one_line(message) +
                 "; the physics cannot go on: reset the environment and check the actions");
}

// once a process; a host program's own handlers stay. An error must not return to MuJoCo, so it
// passes as an exception through C frames, which carry unwind tables. A warning must return (its
// dispatch is not reentrant); those of a simulation are found in mjData after each call
void install_handlers() {
  static const bool installed = [] {
    if (mju_user_error == nullptr) mju_user_error = throw_error;
    if (mju_user_warning == nullptr) mju_user_warning = [](const char*) {};
    return true;
  }();
  static_cast<void>(installed);
}

MujocoModel compile_spec(mjSpec* parsed, const char* message, const std::string& name) {
  const std::unique_ptr<mjSpec, MujocoDeleter> spec(parsed);
  if (!spec) throw RunError(name + ": MuJoCo cannot read this model: " + one_line(message));
  MujocoModel model(mj_compile(spec.get(), nullptr),
                    [](const mjModel* m) { mj_deleteModel(const_cast<mjModel*>(m)); });
  if (!model) {
    throw RunError(name +
                   ": MuJoCo cannot compile this model: " + one_line(mjs_getError(spec.get())));
  }
  if (mjs_numWarnings(spec.get()) > 0) {
    throw RunError(name + ": MuJoCo compiled this model with a warning: " +
                   one_line(mjs_getWarning(spec.get(), 0)));
  }
  return model;
}

}  // namespace

MujocoModel compile_mjcf(const std::string& mjcf, const std::string& name) {
  install_handlers();

  // models of this text that are still in use
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<const mjModel>> known;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(mjcf); found != known.end()) {
    if (MujocoModel model = found->second.lock()) return model;
  }
  char message[1024] = "";
  MujocoModel model = compile_spec(
      mj_parseXMLString(mjcf.c_str(), nullptr, message, sizeof message), message, name);
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  known[mjcf] = model;
  return model;
}

MujocoModel compile_mjcf_file(const std::string& path) {
  install_handlers();
  char message[1024] = "";
  return compile_spec(mj_parseXML(path.c_str(), nullptr, message, sizeof message), message, path);
}

MujocoSimulation::MujocoSimulation(MujocoModel model)
    : model_(std::move(model)), data_(mj_makeData(model_.get())) {
  if (!data_) throw RunError("MuJoCo could not allocate the state of a simulation: out of memory");
}

std::span<const double> MujocoSimulation::qpos() const {
  return {data_->qpos, static_cast<size_t>(model_->nq)};
}

std::span<const double> MujocoSimulation::qvel() const {
  return {data_->qvel, static_cast<size_t>(model_->nv)};
}

void MujocoSimulation::set_state(std::span<const double> qpos, std::span<const double> qvel) {
  mj_resetData(model_.get(), data_.get());
  std::copy(qpos.begin(), qpos.end(), data_->qpos);
  std::copy(qvel.begin(), qvel.end(), data_->qvel);
  mj_forward(model_.get(), data_.get());
  require_no_warning();
}

void MujocoSimulation::step_with_clipped_velocity(std::span<const double> control, double limit) {
  for (int i = 0; i < model_->nv; ++i) data_->qvel[i] = std::clamp(data_->qvel[i], -limit, limit);
  mj_step1(model_.get(), data_.get());
  // what mj_forward's second half leaves behind is the solver's warm start; where no constraint
  // moves anything (a ball on the ground that can only slide) the solver has no use for it
  const auto moves = [](mjtNum entry) { return entry != 0.0; };
  if (std::any_of(data_->efc_J, data_->efc_J + data_->nJ, moves)) {
    mj_fwdActuation(model_.get(), data_.get());
    mj_fwdAcceleration(model_.get(), data_.get());
    mj_fwdConstraint(model_.get(), data_.get());
  }
  std::copy(control.begin(), control.end(), data_->ctrl);
  mj_step2(model_.get(), data_.get());
  require_no_warning();
}

void MujocoSimulation::step(std::span<const double> control, int count) {
  std::copy(control.begin(), control.end(), data_->ctrl);
  for (int i = 0; i < count; ++i) mj_step(model_.get(), data_.get());
  require_no_warning();
}

void MujocoSimulation::require_no_warning() const {
  for (int kind = 0; kind < mjNWARNING; ++kind) {
    const mjWarningStat& warning = data_->warning[kind];
    if (warning.number == 0) continue;
    throw RunError("MuJoCo warning: " +
                   one_line(mju_warningText(kind, static_cast<size_t>(warning.lastinfo))) +
                   "; the physics cannot be trusted: reset the environment and check the actions");
  }
}

}  // namespace drop
