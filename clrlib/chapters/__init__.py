"""Pictures and sliders of one chapter, a module each."""
