# Presets with CMAKE_UNITY_BUILD compile a folder's files in batches, which takes a
# third of the time (reading headers is most of it). In these folders files share
# names of file scope: they are compiled one by one.
set(TRIBUTARY_SEPARATE_FILES
  tributary_crypto tributary_kernels tributary_manifest
  tributary_contributor_calibration tributary_contributor_data
  tributary_contributor_importance tributary_contributor_pruning
  tributary_benchmarks_torch tributary_benchmarks_upload contributor_cache_test
  contributor_calibration_test contributor_data_test contributor_pruning_test
  contributor_training_test coordinator_blob_test manifest_test)

function(tributary_batches target)
  if(target IN_LIST TRIBUTARY_SEPARATE_FILES)
    set_target_properties(${target} PROPERTIES UNITY_BUILD OFF)
  endif()
endfunction()

# tributary_library(NAME name [TORCH] SOURCES ... [DEPENDS ...] [PRIVATE ...])
#   One static library a folder, with the alias tributary::name. TORCH says
#   that it includes LibTorch: it uses the shared precompiled header.
function(tributary_library)
  cmake_parse_arguments(arg "TORCH" "NAME" "SOURCES;DEPENDS;PRIVATE" ${ARGN})
  if(arg_TORCH AND NOT TRIBUTARY_WITH_TORCH)
    return()
  endif()
  set(target tributary_${arg_NAME})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(tributary::${arg_NAME} ALIAS ${target})
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS} tributary_sanitizers
                        PRIVATE ${arg_PRIVATE} tributary_warnings)
  tributary_batches(${target})
  if(arg_TORCH)
    tributary_use_torch(${target})
  endif()
endfunction()

# tributary_executable(NAME name [TORCH] SOURCES ... DEPENDS ...)
function(tributary_executable)
  cmake_parse_arguments(arg "TORCH" "NAME" "SOURCES;DEPENDS" ${ARGN})
  if(arg_TORCH AND NOT TRIBUTARY_WITH_TORCH)
    return()
  endif()
  add_executable(${arg_NAME} ${arg_SOURCES})
  target_include_directories(${arg_NAME} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${arg_NAME} PRIVATE ${arg_DEPENDS} tributary_sanitizers
                        tributary_warnings)
  tributary_batches(${arg_NAME})
  if(arg_TORCH)
    tributary_use_torch(${arg_NAME})
  endif()
endfunction()

# tributary_test(NAME name [TORCH] SOURCES ... DEPENDS ... [LABELS ...]
#                [TIMEOUT seconds])
#   One gtest binary, one ctest entry, with the environment that workers get.
#   TRIBUTARY_SOURCE_DIR and TRIBUTARY_BINARY_DIR tell a test where fixtures and
#   executables lie.
function(tributary_test)
  cmake_parse_arguments(arg "TORCH" "NAME;TIMEOUT" "SOURCES;DEPENDS;LABELS"
                        ${ARGN})
  if(arg_TORCH AND NOT TRIBUTARY_WITH_TORCH)
    return()
  endif()
  add_executable(${arg_NAME} ${arg_SOURCES})
  set_target_properties(${arg_NAME} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${arg_NAME} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${arg_NAME} PRIVATE
    TRIBUTARY_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    TRIBUTARY_BINARY_DIR="${CMAKE_BINARY_DIR}"
    TRIBUTARY_PYTHON="${TRIBUTARY_VENV}/bin/python")
  target_link_libraries(${arg_NAME} PRIVATE ${arg_DEPENDS} GTest::gmock
                        GTest::gtest_main tributary_sanitizers
                        tributary_warnings)
  tributary_batches(${arg_NAME})
  if(arg_TORCH)
    tributary_use_torch(${arg_NAME})
  endif()
  add_test(NAME ${arg_NAME} COMMAND ${arg_NAME}
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set_tests_properties(${arg_NAME} PROPERTIES TIMEOUT ${arg_TIMEOUT}
                       LABELS "${arg_LABELS}"
                       ENVIRONMENT OMP_WAIT_POLICY=passive)
endfunction()

# Including LibTorch costs 10-20 s a file, with a precompiled header 5 s.
# The header is compiled once, by tributary_torch_pch.
#
# LibTorch's folder holds headers of fmt and protobuf of other versions than the
# libraries that everything else is linked with. A folder with links to ours,
# searched first, keeps one version in the process.
function(tributary_use_torch target)
  if(NOT TARGET tributary_torch_pch)
    file(WRITE ${CMAKE_BINARY_DIR}/torch_pch.cc "")
    add_library(tributary_torch_pch STATIC ${CMAKE_BINARY_DIR}/torch_pch.cc)
    target_link_libraries(tributary_torch_pch PUBLIC torch
                          tributary_sanitizers)
    target_precompile_headers(tributary_torch_pch PRIVATE
                              <torch/torch.h> <nlohmann/json.hpp>)
    set_target_properties(tributary_torch_pch PROPERTIES
                          POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(tributary_torch_pch PRIVATE -fPIC)
  endif()
  set(first ${CMAKE_BINARY_DIR}/headers_first)
  file(MAKE_DIRECTORY ${first})
  get_target_property(fmt_headers fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
  file(CREATE_LINK ${fmt_headers}/fmt ${first}/fmt SYMBOLIC)
  list(GET Protobuf_INCLUDE_DIRS 0 protobuf_headers)
  file(CREATE_LINK ${protobuf_headers}/google ${first}/google SYMBOLIC)
  target_include_directories(${target} BEFORE PRIVATE ${first})
  target_link_libraries(${target} PUBLIC torch)
  target_precompile_headers(${target} REUSE_FROM tributary_torch_pch)
  # The header is made with -fPIC; executables would use -fPIE and miss it.
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE -fPIC)
endfunction()
