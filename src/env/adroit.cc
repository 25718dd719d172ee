#include "env/adroit.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <utility>

#include "drop/base/error.h"
#include "drop/base/text.h"
#include "env/tasks.h"

namespace drop {

namespace {

constexpr double kTimestep = 0.002;
constexpr int kFrameSkip = 5;

int find(const mjModel& model, mjtObj type, const std::string& name) {
  const int id = mj_name2id(&model, type, name.c_str());
  if (id >= 0) return id;
  throw RunError(adroit_folder() + ": these Adroit models have no part \"" + name +
                 "\"; fetch them anew: remove the folder and run ./scripts/fetch_adroit.sh");
}

// servos from `first` to `last`: force = gain * (control - angle)
void set_gain(mjModel& model, const char* first, const char* last, double gain) {
  const int end = find(model, mjOBJ_ACTUATOR, last);
  for (int i = find(model, mjOBJ_ACTUATOR, first); i <= end; ++i) {
    const double gains[3] = {gain, 0.0, 0.0};
    const double biases[3] = {0.0, -gain, 0.0};
    std::copy_n(gains, 3, model.actuator_gainprm + i * mjNGAIN);
    std::copy_n(biases, 3, model.actuator_biasprm + i * mjNBIAS);
  }
}

// Two geoms came into contact at the larger of their margins, today at the sum. All geoms of these
// models have one margin, but for the hammer task's board, which meets only such geoms: half of it
// everywhere makes the sum what the larger one was. And pairs without a function of their own
// (cylinders) go to the older general one, which finds one contact for each pair.
void use_old_contacts(mjModel& model) {
  const double margin = *std::max_element(model.geom_margin, model.geom_margin + model.ngeom);
  std::fill_n(model.geom_margin, model.ngeom, margin / 2.0);
  model.opt.disableflags |= mjDSBL_NATIVECCD | mjDSBL_MULTICCD;
}

std::shared_ptr<mjModel> load_model(const std::string& task, Physics physics) {
  const std::filesystem::path path =
      std::filesystem::path(adroit_folder()) / ("adroit_" + task + ".xml");
  if (!std::filesystem::exists(path)) {
    throw RunError(task + ": its model " + path.string() +
                   " is not there; run ./scripts/fetch_adroit.sh or set DROP_ADROIT_DIR to the "
                   "folder that holds it");
  }
  std::shared_ptr<mjModel> model(mj_copyModel(nullptr, compile_mjcf_file(path.string()).get()),
                                 mj_deleteModel);
  if (!model) throw RunError(task + ": MuJoCo could not copy the model: out of memory");
  set_gain(*model, "A_WRJ1", "A_WRJ0", 10.0);
  set_gain(*model, "A_FFJ3", "A_THJ0", 1.0);
  if (physics == Physics::kD4rl) use_old_contacts(*model);
  return model;
}

TaskInfo info_of(const AdroitTask& task) {
  TaskInfo info;
  info.name = task.name;
  info.state_dim = task.state_dim;
  info.action_dim = task.action_dim;
  info.max_episode_steps = task.max_episode_steps;
  info.dt = kTimestep * kFrameSkip;
  for (const AdroitVariable& variable : task.variables) {
    info.variables.push_back({variable.key, variable.is_orientation ? 4 : 3, variable.moves});
  }
  return info;
}

}  // namespace

AdroitEnvironment::AdroitEnvironment(const AdroitTask& task, Physics physics)
    : AdroitEnvironment(task, load_model(task.name, physics)) {}

AdroitEnvironment::AdroitEnvironment(const AdroitTask& task, std::shared_ptr<mjModel> model)
    : MujocoEnvironment(info_of(task), model), control_(static_cast<size_t>(model->nu)) {
  for (const AdroitVariable& variable : task.variables) {
    const int id = id_of(variable.type, variable.name);
    double* const field = variable.type == mjOBJ_SITE ? model->site_pos + 3 * id
                          : variable.is_orientation   ? model->body_quat + 4 * id
                                                      : model->body_pos + 3 * id;
    fields_.emplace_back(field, variable.is_orientation ? 4 : 3);
  }
  original_ = task_state();
}

std::vector<double> AdroitEnvironment::task_state() const {
  std::vector<double> values;
  for (const std::span<double> field : fields_) {
    values.insert(values.end(), field.begin(), field.end());
  }
  return values;
}

void AdroitEnvironment::set_task_state(std::span<const double> values) {
  if (values.size() != original_.size()) {
    throw RunError(info().name + ": the task's variables are " + std::to_string(original_.size()) +
                   " numbers, found " + std::to_string(values.size()) +
                   "; pass a span of that size");
  }
  for (const double value : values) {
    if (std::isfinite(value)) continue;
    throw RunError(info().name + ": the task's variables hold " + shortest(value) +
                   ", only finite numbers are allowed; check what made it");
  }
  write_variables(values);
}

std::optional<std::vector<double>> AdroitEnvironment::task_state_from(
    std::span<const double> qpos, std::span<const double> observation) {
  const bool fits = qpos.size() == static_cast<size_t>(model().nq) &&
                    observation.size() == static_cast<size_t>(info().state_dim);
  if (fits) return observed_task_state(qpos, observation);
  throw RunError(info().name + ": found " + std::to_string(qpos.size()) + " positions and " +
                 std::to_string(observation.size()) + " observed numbers, this task has " +
                 std::to_string(model().nq) + " and " + std::to_string(info().state_dim) +
                 "; pass spans of these sizes");
}

void AdroitEnvironment::write_variables(std::span<const double> values) const {
  for (const std::span<double> field : fields_) {
    std::copy_n(values.begin(), field.size(), field.begin());
    values = values.subspan(field.size());
  }
}

void AdroitEnvironment::draw_start(RandomStream& rng, std::span<double> /*qpos*/,
                                   std::span<double> /*qvel*/) const {
  write_variables(draw_task_state(rng));
}

StepResult AdroitEnvironment::advance(std::span<const double> action) {
  for (size_t i = 0; i < action.size(); ++i) {
    const double low = model().actuator_ctrlrange[2 * i];
    const double high = model().actuator_ctrlrange[2 * i + 1];
    control_[i] = 0.5 * (low + high) + action[i] * (0.5 * (high - low));
  }
  simulation().step(control_, kFrameSkip);
  return judge();
}

int AdroitEnvironment::id_of(mjtObj type, const char* name) const {
  return find(model(), type, name);
}

std::array<double, 3> AdroitEnvironment::site_position_at(int site,
                                                          std::span<const double> qpos) const {
  // apart from the running episode
  const std::unique_ptr<mjData, MujocoDeleter> pose(mj_makeData(&model()));
  if (!pose) throw RunError(info().name + ": MuJoCo could not allocate a pose: out of memory");
  std::copy(qpos.begin(), qpos.end(), pose->qpos);
  mj_kinematics(&model(), pose.get());
  const double* const position = pose->site_xpos + 3 * site;
  return {position[0], position[1], position[2]};
}

std::vector<double> AdroitEnvironment::moved_task_state(int site, std::span<const double> qpos,
                                                        std::span<const double> observed) const {
  const std::array<double, 3> here = site_position_at(site, qpos);
  std::vector<double> values = task_state();
  for (size_t i = 0; i < values.size(); ++i) values[i] += observed[i] - here[i];
  return values;
}

std::string adroit_folder() {
  const char* folder = std::getenv("DROP_ADROIT_DIR");
  return folder != nullptr && *folder != '\0' ? folder : DROP_ADROIT_DIR_DEFAULT;
}

std::span<double>::iterator append(std::span<double>::iterator out, const double* values,
                                   int size) {
  return std::copy_n(values, size, out);
}

std::span<double>::iterator append_difference(std::span<double>::iterator out, const double* a,
                                              const double* b) {
  return std::transform(a, a + 3, b, out, std::minus<>());
}

void register_adroit(EnvironmentRegistry& registry) {
  registry.add("pen", make_pen);
  registry.add("hammer", make_hammer);
  registry.add("door", make_door);
  registry.add("relocate", make_relocate);
}

}  // namespace drop
