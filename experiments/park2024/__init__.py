"""Park & Kim 2024: gradient oversmoothing and expansion."""
