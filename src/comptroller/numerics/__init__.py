"""What a number format loses: quantise, dequantise, error. Arrays in, arrays out; formats are facts."""
