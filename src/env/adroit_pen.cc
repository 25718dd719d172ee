#include <algorithm>
#include <cmath>

#include "env/adroit.h"

namespace drop {

namespace {

constexpr int kTurn = 36;  // in the observation: the wanted direction

// turn a pen in the hand until it points where the pen beside the hand does
class PenEnvironment final : public AdroitEnvironment {
 public:
  explicit PenEnvironment(Physics physics)
      : AdroitEnvironment(
            {"pen", 45, 24, 100, {{"infos/desired_orien", mjOBJ_BODY, "target", true}}}, physics),
        object_(id_of(mjOBJ_BODY, "Object")),
        place_(id_of(mjOBJ_SITE, "eps_ball")),
        object_top_(id_of(mjOBJ_SITE, "object_top")),
        object_bottom_(id_of(mjOBJ_SITE, "object_bottom")),
        target_top_(id_of(mjOBJ_SITE, "target_top")),
        target_bottom_(id_of(mjOBJ_SITE, "target_bottom")),
        object_length_(
            mju_dist3(model().site_pos + 3 * object_top_, model().site_pos + 3 * object_bottom_)),
        target_length_(
            mju_dist3(model().site_pos + 3 * target_top_, model().site_pos + 3 * target_bottom_)) {}

 private:
  std::vector<double> observed_task_state(std::span<const double> /*qpos*/,
                                          std::span<const double> observation) const override {
    // the direction of the z axis after a turn about x, then one about the new y
    const std::span<const double> direction = observation.subspan(kTurn, 3);
    return quaternion(std::atan2(-direction[1], direction[2]),
                      std::asin(std::clamp(direction[0], -1.0, 1.0)));
  }

  static std::vector<double> quaternion(double about_x, double about_y) {
    const double cx = std::cos(about_x / 2.0);
    const double sx = std::sin(about_x / 2.0);
    const double cy = std::cos(about_y / 2.0);
    const double sy = std::sin(about_y / 2.0);
    return {cy * cx, cy * sx, sy * cx, sy * sx};
  }

  std::vector<double> draw_task_state(RandomStream& rng) const override {
    const double about_x = rng.uniform(-1.0, 1.0);
    const double about_y = rng.uniform(-1.0, 1.0);
    return quaternion(about_x, about_y);
  }

  std::array<double, 3> direction(int top, int bottom, double length) const {
    std::array<double, 3> difference{};
    mju_sub3(difference.data(), site_position(top), site_position(bottom));
    for (double& x : difference) x /= length;
    return difference;
  }
  std::array<double, 3> direction() const {
    return direction(object_top_, object_bottom_, object_length_);
  }
  std::array<double, 3> wanted_direction() const {
    return direction(target_top_, target_bottom_, target_length_);
  }

  StepResult judge() const override {
    const double* const object = body_position(object_);
    const double distance = mju_dist3(object, site_position(place_));
    const double alignment = mju_dot3(direction().data(), wanted_direction().data());
    StepResult result;
    result.reward = alignment - distance;
    if (distance < 0.075 && alignment > 0.9) result.reward += 10.0;
    if (distance < 0.075 && alignment > 0.95) result.reward += 50.0;
    result.terminated = object[2] < 0.075;  // dropped
    if (result.terminated) result.reward -= 5.0;
    return result;
  }

  void write_observation(std::span<double> observation) const override {
    const std::array<double, 3> now = direction();
    const std::array<double, 3> wanted = wanted_direction();
    auto out = append(observation.begin(), data().qpos, model().nq - 6);
    out = append(out, body_position(object_));
    out = append(out, data().qvel + model().nv - 6, 6);
    out = append(out, now.data());
    out = append(out, wanted.data());
    out = append_difference(out, body_position(object_), site_position(place_));
    append_difference(out, now.data(), wanted.data());
  }

  int object_, place_, object_top_, object_bottom_, target_top_, target_bottom_;
  double object_length_, target_length_;
};

}  // namespace

std::unique_ptr<Environment> make_pen(const EnvironmentOptions& options) {
  return std::make_unique<PenEnvironment>(options.physics);
}

}  // namespace drop
