#include "drop/env/renderer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

#include "drop/base/error.h"
#include "env/gl_context.h"
#include "env/maze2d.h"
#include "env/mujoco_environment.h"

namespace drop {

namespace {

using Colour = std::array<float, 4>;
using Point = std::array<double, 3>;

constexpr Colour kSky = {0.90F, 0.93F, 0.97F, 1.0F};
constexpr Colour kFloor = {0.66F, 0.69F, 0.73F, 1.0F};
constexpr Colour kTile = {0.55F, 0.59F, 0.64F, 1.0F};
constexpr Colour kWall = {0.26F, 0.36F, 0.50F, 1.0F};
constexpr Colour kRobot = {0.89F, 0.46F, 0.17F, 1.0F};
constexpr Colour kLeftLeg = {0.60F, 0.24F, 0.10F, 1.0F};
constexpr Colour kGoal = {0.10F, 0.65F, 0.33F, 0.9F};
constexpr Colour kHalo = {0.10F, 0.65F, 0.33F, 0.35F};

// what surrounds the robot
enum class Scenery {
  kField,  // an endless chequered floor, the camera goes along
  kMaze,   // seen whole from above
  kBench   // Adroit's models bring their own
};

Scenery scenery_of(std::string_view task) {
  if (task.starts_with("maze2d-") || task.starts_with("antmaze-")) return Scenery::kMaze;
  for (const std::string_view adroit : {"pen", "hammer", "door", "relocate"}) {
    if (task == adroit) return Scenery::kBench;
  }
  return Scenery::kField;
}

// where the camera stands: degrees and metres, as in mjvCamera
struct View {
  Point centre;
  double distance;
  double azimuth;
  double elevation;
};

const MujocoEnvironment& as_mujoco(const Environment& environment) {
  const auto* const found = dynamic_cast<const MujocoEnvironment*>(&environment);
  if (found == nullptr) {
    throw RunError(environment.info().name + ": this task has no MuJoCo model, it cannot be drawn");
  }
  return *found;
}

bool is_floor(const mjModel& model, int geom) {
  return model.geom_type[geom] == mjGEOM_PLANE && model.geom_bodyid[geom] == 0;
}

// beside a running robot, going along with its torso at a fixed height; or over Adroit's table,
// behind the forearm, which points along y
View view_of(std::string_view task) {
  if (task == "hopper" || task == "walker2d") return {{0.0, 0.0, 0.75}, 4.6, 90.0, -8.0};
  if (task == "halfcheetah") return {{0.0, 0.0, 0.5}, 4.4, 90.0, -10.0};
  if (task == "pen") return {{0.0, -0.2, 0.22}, 1.4, 130.0, -35.0};
  if (task == "hammer") return {{0.0, -0.2, 0.2}, 1.9, 130.0, -25.0};
  if (task == "door") return {{0.1, -0.2, 0.3}, 2.9, 125.0, -25.0};
  if (task == "relocate") return {{0.0, -0.2, 0.2}, 2.4, 130.0, -30.0};
  return {{0.0, 0.0, 0.4}, 6.0, 110.0, -22.0};
}

// degrees from the lower to the upper edge of the picture
constexpr double kFieldOfView = 30.0;

// the whole maze, as wide and as high as the picture allows. Rows go down and columns to the right
// in a Maze2D, whose rows are x; AntMaze's columns are x
View view_of_maze(const mjModel& model, std::string_view task, double aspect) {
  Point low = {1e9, 1e9, 0.0};
  Point high = {-1e9, -1e9, 0.0};
  for (int geom = 0; geom < model.ngeom; ++geom) {
    if (model.geom_bodyid[geom] != 0 || is_floor(model, geom)) continue;
    for (size_t k = 0; k < 3; ++k) {
      const double position = model.geom_pos[3 * geom + static_cast<int>(k)];
      const double size = model.geom_size[3 * geom + static_cast<int>(k)];
      low[k] = std::min(low[k], position - size);
      high[k] = std::max(high[k], position + size);
    }
  }
  View view{};
  for (size_t k = 0; k < 3; ++k) view.centre[k] = 0.5 * (low[k] + high[k]);
  view.azimuth = task.starts_with("maze2d-") ? 180.0 : 90.0;
  view.elevation = -80.0;
  const size_t across = task.starts_with("maze2d-") ? 1 : 0;
  const double half_width = 0.5 * (high[across] - low[across]);
  const double half_height = 0.5 * (high[1 - across] - low[1 - across]);
  constexpr double kMargin = 1.05;
  view.distance = kMargin * std::max(half_height, half_width / aspect) /
                      std::tan(0.5 * kFieldOfView * mjPI / 180.0) +
                  high[2];
  return view;
}

}  // namespace

struct Renderer::Impl {
  std::string task;
  Scenery scenery;
  mjrRect viewport;
  std::unique_ptr<GlContext> context;
  std::unique_ptr<mjModel, MujocoDeleter> look;  // the task's model with colours and light
  std::unique_ptr<mjData, MujocoDeleter> pose;
  View view{};
  mjvScene scene{};
  mjrContext drawing{};
  std::vector<uint8_t> upside_down;

  Impl(const MujocoEnvironment& environment, int width, int height);
  ~Impl();
  void release();
  void dress();
  void paint(int geom, const Colour& colour);
  void aim(const MujocoEnvironment& environment);
  void add_scenery(const Environment& environment);
  void add_goal(const Environment& environment, double ground);
  mjvGeom* add(mjtGeom type, const Point& position, const Point& size, const Colour& colour);
};

Renderer::Impl::Impl(const MujocoEnvironment& environment, int width, int height)
    : task(environment.info().name),
      scenery(scenery_of(task)),
      viewport{0, 0, width, height},
      context(make_gl_context()),
      look(mj_copyModel(nullptr, &environment.model())) {
  if (!look) throw RunError(task + ": no memory to draw with");
  pose.reset(mj_makeData(look.get()));
  if (!pose) throw RunError(task + ": no memory to draw with");
  const double aspect = static_cast<double>(width) / height;
  if (scenery == Scenery::kMaze) {
    view = view_of_maze(*look, task, aspect);
  } else {
    view = view_of(task);
  }
  dress();

  upside_down.resize(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  mjv_defaultScene(&scene);
  mjr_defaultContext(&drawing);
  try {
    context->make_current();
    constexpr int kScenery = 1000;  // more than `add_scenery` ever adds
    mjv_makeScene(look.get(), &scene, look->ngeom + look->nsite + kScenery);
    mjr_makeContext(look.get(), &drawing, mjFONTSCALE_100);
    mjr_setBuffer(mjFB_OFFSCREEN, &drawing);
  } catch (const RunError& error) {
    release();
    throw RunError(task + ": cannot be drawn: " + error.what());
  }
  // the sky is the inside of a sphere
  scene.flags[mjRND_CULL_FACE] = 0;
  scene.flags[mjRND_FOG] = 1;
}

Renderer::Impl::~Impl() { release(); }

void Renderer::Impl::release() {
  try {
    context->make_current();
    mjr_freeContext(&drawing);
  } catch (const RunError&) {
    // what the driver holds goes with its context
  }
  mjv_freeScene(&scene);
}

// the tasks' models say nothing about looks, apart from Adroit's hand, table and objects
void Renderer::Impl::dress() {
  mjVisual& visual = look->vis;
  visual.global.fovy = kFieldOfView;
  visual.global.offwidth = viewport.width;
  visual.global.offheight = viewport.height;
  visual.quality.offsamples = 4;
  visual.quality.shadowsize = 1024;
  // these are multiples of the extent
  look->stat.extent = view.distance;
  visual.map.znear = 0.02F;
  visual.map.zfar = 50.0F;  // a nearer one gives shadows specks
  visual.map.shadowclip = scenery == Scenery::kMaze ? 0.65F : 0.45F;
  visual.map.fogstart = 1.2F;
  visual.map.fogend = 4.0F;
  std::copy(kSky.begin(), kSky.end(), visual.rgba.fog);
  visual.headlight.active = 1;
  std::fill_n(visual.headlight.ambient, 3, 0.35F);
  std::fill_n(visual.headlight.diffuse, 3, 0.25F);
  std::fill_n(visual.headlight.specular, 3, 0.0F);

  // our floor and light instead of the model's
  std::fill_n(look->light_active, look->nlight, mjtByte{0});
  constexpr Colour kHidden = {0.0F, 0.0F, 0.0F, 0.0F};
  for (int geom = 0; geom < look->ngeom; ++geom) {
    if (is_floor(*look, geom)) {
      paint(geom, kHidden);
    } else if (scenery != Scenery::kBench) {
      const bool left = std::string_view(look->names + look->name_geomadr[geom]).find("left") !=
                        std::string_view::npos;
      paint(geom, look->geom_bodyid[geom] == 0 ? kWall : left ? kLeftLeg : kRobot);
    }
  }
}

void Renderer::Impl::paint(int geom, const Colour& colour) {
  look->geom_matid[geom] = -1;
  std::copy(colour.begin(), colour.end(), look->geom_rgba + 4 * geom);
}

void Renderer::Impl::aim(const MujocoEnvironment& environment) {
  const mjModel& model = environment.model();
  const std::vector<double> positions = environment.qpos();
  std::copy(positions.begin(), positions.end(), pose->qpos);
  mj_kinematics(&model, pose.get());
  mj_comPos(&model, pose.get());
  mj_camlight(&model, pose.get());
  if (scenery == Scenery::kField) {
    view.centre[0] = pose->xpos[3];
    view.centre[1] = pose->xpos[4];
  }

  mjvCamera camera;
  mjv_defaultCamera(&camera);
  std::copy(view.centre.begin(), view.centre.end(), camera.lookat);
  camera.distance = view.distance;
  camera.azimuth = view.azimuth;
  camera.elevation = view.elevation;
  mjvOption option;
  mjv_defaultOption(&option);
  option.flags[mjVIS_TENDON] = 0;
  mjv_updateScene(look.get(), pose.get(), &option, nullptr, &camera, mjCAT_ALL, &scene);
}

mjvGeom* Renderer::Impl::add(mjtGeom type, const Point& position, const Point& size,
                             const Colour& colour) {
  mjvGeom* const geom = &scene.geoms[scene.ngeom++];
  *geom = {};  // some fields keep what they were
  mjv_initGeom(geom, type, size.data(), position.data(), nullptr, colour.data());
  geom->category = mjCAT_DECOR;  // casts no shadow
  return geom;
}

void Renderer::Impl::add_scenery(const Environment& environment) {
  const double reach = 8.0 * view.distance;

  // sunlight over the camera's left shoulder, with shadows
  mjvLight& sun = scene.lights[scene.nlight++];
  sun = mjvLight{};
  sun.type = mjLIGHT_DIRECTIONAL;
  sun.castshadow = 1;
  const double turn = (view.azimuth + 35.0) * mjPI / 180.0;
  const std::array<double, 3> direction = {0.45 * std::cos(turn), 0.45 * std::sin(turn), -0.89};
  for (size_t k = 0; k < 3; ++k) {
    sun.dir[k] = static_cast<float>(direction[k]);
    sun.pos[k] = static_cast<float>(view.centre[k] - view.distance * direction[k]);
    sun.diffuse[k] = 0.55F;
    sun.specular[k] = 0.15F;
  }

  // the sky's colour is all its own: hardly any of the light's
  Colour faint = kSky;
  for (size_t k = 0; k < 3; ++k) faint[k] *= 0.02F;
  add(mjGEOM_SPHERE, view.centre, {reach, reach, reach}, faint)->emission = 50.0F;

  double ground = 0.0;
  for (int geom = 0; geom < look->ngeom; ++geom) {
    if (is_floor(*look, geom)) ground = pose->geom_xpos[3 * geom + 2];
  }
  add(mjGEOM_PLANE, {view.centre[0], view.centre[1], ground}, {reach, reach, 1.0}, kFloor);
  if (scenery == Scenery::kField) {
    // every second square of a board that stays where it is while the camera goes along
    constexpr double kSide = 1.0;
    constexpr int kSquares = 20;
    const auto first = [](double centre) { return std::floor(centre / kSide) - kSquares; };
    for (int i = 0; i < 2 * kSquares; ++i) {
      for (int j = 0; j < 2 * kSquares; ++j) {
        const double column = first(view.centre[0]) + i;
        const double row = first(view.centre[1]) + j;
        if (std::fmod(std::abs(column + row), 2.0) == 0.0) continue;
        add(mjGEOM_PLANE, {(column + 0.5) * kSide, (row + 0.5) * kSide, ground + 1e-3},
            {0.5 * kSide, 0.5 * kSide, 1.0}, kTile);
      }
    }
  }
  add_goal(environment, ground);
}

// the disc that ends the way: a Maze2D's reward is 1 on it, an AntMaze's small one has a halo
void Renderer::Impl::add_goal(const Environment& environment, double ground) {
  constexpr double kRadius = 0.5;
  constexpr double kThickness = 0.01;
  const std::optional<FloorPlan> plan = environment.floor_plan();
  if (!plan) return;
  const auto [x, y] = plan->goal;
  if (const auto* const maze = dynamic_cast<const Maze2dEnvironment*>(&environment)) {
    // the ball's body stands at the origin of its coordinates
    const double* const origin = maze->model().body_pos + 3;
    add(mjGEOM_CYLINDER, {origin[0] + x, origin[1] + y, ground}, {kRadius, kThickness, 0.0}, kGoal);
  } else {
    add(mjGEOM_CYLINDER, {x, y, ground}, {3.0 * kRadius, kThickness, 0.0}, kHalo);
    add(mjGEOM_CYLINDER, {x, y, ground + kThickness}, {kRadius, kThickness, 0.0}, kGoal);
  }
}

Renderer::Renderer(const Environment& environment, int width, int height) {
  constexpr int kSmallest = 16;
  constexpr int kLargest = 4096;
  if (std::min(width, height) < kSmallest || std::max(width, height) > kLargest) {
    throw UsageError("a picture of " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels cannot be drawn; allowed are 16 to 4096 on each side");
  }
  impl_ = std::make_unique<Impl>(as_mujoco(environment), width, height);
}

Renderer::~Renderer() = default;

void Renderer::render(const Environment& environment, std::span<uint8_t> rgb,
                      const std::string& caption) {
  Impl& impl = *impl_;
  const MujocoEnvironment& shown = as_mujoco(environment);
  if (shown.model().nq != impl.look->nq || shown.info().name != impl.task) {
    throw RunError("a renderer of task " + impl.task + " cannot draw " + shown.info().name +
                   "; make one for each task");
  }
  if (rgb.size() != impl.upside_down.size()) {
    throw RunError("a picture of " + std::to_string(impl.viewport.width) + " x " +
                   std::to_string(impl.viewport.height) + " pixels needs " +
                   std::to_string(impl.upside_down.size()) + " bytes, not " +
                   std::to_string(rgb.size()));
  }
  impl.context->make_current();
  impl.aim(shown);
  impl.add_scenery(environment);
  mjr_render(impl.viewport, &impl.scene, &impl.drawing);
  if (!caption.empty()) {
    mjr_overlay(mjFONT_NORMAL, mjGRID_TOPLEFT, impl.viewport, caption.c_str(), nullptr,
                &impl.drawing);
  }
  // OpenGL's first row is the lowest
  mjr_readPixels(impl.upside_down.data(), nullptr, impl.viewport, &impl.drawing);
  const auto row = static_cast<size_t>(impl.viewport.width) * 3;
  for (size_t at = 0; at < rgb.size(); at += row) {
    std::copy_n(impl.upside_down.end() - static_cast<std::ptrdiff_t>(at + row), row,
                rgb.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

}  // namespace drop
