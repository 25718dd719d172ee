#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "drop/config/config.h"

namespace drop {

/// One value of an enumeration and the name it has in configs and on command lines.
template <class Enum>
struct Named {
  Enum value;
  const char* name;
};

/// All values of an enumeration, in the order in which messages list them.
template <class Enum>
struct NamesOf;

template <>
struct NamesOf<Device> {
  static constexpr Named<Device> kAll[] = {
      {Device::kAuto, "auto"}, {Device::kCpu, "cpu"}, {Device::kCuda, "cuda"}};
};

template <>
struct NamesOf<Precision> {
  static constexpr Named<Precision> kAll[] = {{Precision::kFp32, "fp32"},
                                              {Precision::kTf32, "tf32"},
                                              {Precision::kBf16, "bf16"},
                                              {Precision::kAuto, "auto"}};
};

template <>
struct NamesOf<Physics> {
  static constexpr Named<Physics> kAll[] = {{Physics::kD4rl, "d4rl"}, {Physics::kModern, "modern"}};
};

template <>
struct NamesOf<DecompositionKind> {
  static constexpr Named<DecompositionKind> kAll[] = {
      {DecompositionKind::kRank, "rank"},
      {DecompositionKind::kQuantization, "quantization"},
      {DecompositionKind::kRandom, "random"},
      {DecompositionKind::kTrajectory, "trajectory"}};
};

template <>
struct NamesOf<EmbeddingKind> {
  static constexpr Named<EmbeddingKind> kAll[] = {{EmbeddingKind::kTable, "table"},
                                                  {EmbeddingKind::kCvae, "cvae"}};
};

template <>
struct NamesOf<PolicyStd> {
  static constexpr Named<PolicyStd> kAll[] = {{PolicyStd::kFixed, "fixed"},
                                              {PolicyStd::kLearned, "learned"}};
};

template <>
struct NamesOf<MultiplierForm> {
  static constexpr Named<MultiplierForm> kAll[] = {{MultiplierForm::kHinge, "hinge"},
                                                   {MultiplierForm::kProjected, "projected"},
                                                   {MultiplierForm::kLog, "log"}};
};

template <>
struct NamesOf<StepEngineKind> {
  static constexpr Named<StepEngineKind> kAll[] = {{StepEngineKind::kAuto, "auto"},
                                                   {StepEngineKind::kEager, "eager"},
                                                   {StepEngineKind::kFused, "fused"},
                                                   {StepEngineKind::kGraph, "graph"}};
};

template <>
struct NamesOf<AscentEngineKind> {
  static constexpr Named<AscentEngineKind> kAll[] = {{AscentEngineKind::kAuto, "auto"},
                                                     {AscentEngineKind::kAutograd, "autograd"},
                                                     {AscentEngineKind::kCpu, "cpu"},
                                                     {AscentEngineKind::kCuda, "cuda"}};
};

template <>
struct NamesOf<StartKind> {
  static constexpr Named<StartKind> kAll[] = {{StartKind::kPrior, "prior"},
                                              {StartKind::kData, "data"}};
};

template <>
struct NamesOf<InferenceRuleKind> {
  static constexpr Named<InferenceRuleKind> kAll[] = {{InferenceRuleKind::kBest, "best"},
                                                      {InferenceRuleKind::kGrad, "grad"},
                                                      {InferenceRuleKind::kBestAda, "best-ada"},
                                                      {InferenceRuleKind::kGradAda, "grad-ada"}};
};

template <class Enum>
std::string name_of(Enum value) {
  for (const auto& named : NamesOf<Enum>::kAll) {
    if (named.value == value) return named.name;
  }
  throw std::invalid_argument("a value outside its enumeration has no name");
}

template <class Enum>
std::optional<Enum> value_of(std::string_view name) {
  for (const auto& named : NamesOf<Enum>::kAll) {
    if (name == named.name) return named.value;
  }
  return std::nullopt;
}

template <class Enum>
std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const auto& named : NamesOf<Enum>::kAll) names.emplace_back(named.name);
  return names;
}

}  // namespace drop
