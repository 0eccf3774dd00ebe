"""Pictures and videos of trained models: what views show, camera paths, sheets and turntables."""
