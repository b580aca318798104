"""Is it learning? Statistics of every logged step, and the doctor that reads them."""
