#include "env/adroit.h"

namespace drop {

namespace {

constexpr int kHandle = 32;  // in the observation: the handle's position

// turn the handle and pull the door open
class DoorEnvironment final : public AdroitEnvironment {
 public:
  explicit DoorEnvironment(Physics physics)
      : AdroitEnvironment({"door", 39, 28, 200, {{"infos/door_body_pos", mjOBJ_BODY, "frame"}}},
                          physics),
        hinge_(model().jnt_qposadr[id_of(mjOBJ_JOINT, "door_hinge")]),
        palm_(id_of(mjOBJ_SITE, "S_grasp")),
        handle_(id_of(mjOBJ_SITE, "S_handle")) {}

 private:
  std::vector<double> observed_task_state(std::span<const double> qpos,
                                          std::span<const double> observation) const override {
    return moved_task_state(handle_, qpos, observation.subspan(kHandle, 3));
  }

  std::vector<double> draw_task_state(RandomStream& rng) const override {
    const double x = rng.uniform(-0.3, -0.2);
    const double y = rng.uniform(0.25, 0.35);
    const double z = rng.uniform(0.252, 0.35);
    return {x, y, z};
  }

  StepResult judge() const override {
    const double angle = data().qpos[hinge_];
    double squares = 0.0;
    for (int i = 0; i < model().nv; ++i) squares += data().qvel[i] * data().qvel[i];
    StepResult result;
    result.reward = -0.1 * mju_dist3(site_position(palm_), site_position(handle_)) -
                    0.1 * (angle - 1.57) * (angle - 1.57) - 1e-5 * squares;
    if (angle > 0.2) result.reward += 2.0;
    if (angle > 1.0) result.reward += 8.0;
    if (angle > 1.35) result.reward += 10.0;
    return result;
  }

  void write_observation(std::span<double> observation) const override {
    const double* const qpos = data().qpos;
    const double* const palm = site_position(palm_);
    const double* const handle = site_position(handle_);
    auto out = append(observation.begin(), qpos + 1, model().nq - 3);
    *out++ = qpos[model().nq - 1];  // latch
    *out++ = qpos[hinge_];
    out = append(out, palm);
    out = append(out, handle);
    out = append_difference(out, palm, handle);
    *out = qpos[hinge_] > 1.0 ? 1.0 : -1.0;
  }

  int hinge_, palm_, handle_;
};

}  // namespace

std::unique_ptr<Environment> make_door(const EnvironmentOptions& options) {
  return std::make_unique<DoorEnvironment>(options.physics);
}

}  // namespace drop
