{
  "targets": [
    {
      "target_name": "lmhead",
      "sources": [
        "<!@(node -p \"const s = require('./native/sources.json'); [...s.core, ...s.addon].join(' ')\")"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        # As CMakeLists.txt has it.
        "LMHEAD_TEST_KERNELS=<!(node -p \"Number(require('fs').existsSync('./native/test'))\")"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": [
        "-std=c++20", "-O2", "-ffp-contract=off", "-fvisibility=hidden", "-fvisibility-inlines-hidden",
        "-Wall", "-Wextra", "-Wno-uninitialized", "-Wno-maybe-uninitialized"
      ],
      "ldflags": ["-Wl,-z,nodelete", "-Wl,-z,now", "-Wl,--version-script=../native/addon/exports.map"],
      "xcode_settings": {
        "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
        "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
        "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
        "MACOSX_DEPLOYMENT_TARGET": "11.0",
        "OTHER_CFLAGS": ["-O2", "-ffp-contract=off"],
        "OTHER_LDFLAGS": [
          "-Wl,-exported_symbol,_napi_register_module_v1",
          "-Wl,-exported_symbol,_node_api_module_get_api_version_v1"
        ]
      },
      "msvs_settings": {
        "VCCLCompilerTool": { "ExceptionHandling": 1, "AdditionalOptions": ["/std:c++20", "/fp:precise", "/utf-8"] }
      },
      "conditions": [["OS=='win'", { "defines": ["NOMINMAX", "_CRT_SECURE_NO_WARNINGS"] }]]
    }
  ]
}
