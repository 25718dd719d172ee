#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "drop/deploy/evaluation.h"

namespace drop {

/// Results of evaluations in a folder, each in a file named by the SHA-256 of all that it depends
/// on: the program's and the checkpoint's bytes, the rule and its settings, precision, device,
/// episodes, seed and physics. Threads are left out: they change no result.
class EvaluationCache {
 public:
  /// Makes the folder. Throws UsageError where that cannot be done.
  explicit EvaluationCache(std::filesystem::path folder);

  /// @param checkpoint_sha256  of the file, or of its parameters, that acts
  static std::string key(const std::string& checkpoint_sha256, const at::Device& device,
                         const EvaluationOptions& options);
  /// Nothing for a key that is not there or whose file is damaged.
  /// @param options  those that the key was made of
  std::optional<EvaluationResult> find(const std::string& key,
                                       const EvaluationOptions& options) const;
  /// Stores in one step, so that an interrupted evaluation leaves what it had finished.
  void keep(const std::string& key, const EvaluationResult& result) const;

 private:
  std::filesystem::path file_of(const std::string& key) const;

  std::filesystem::path folder_;
};

}  // namespace drop
