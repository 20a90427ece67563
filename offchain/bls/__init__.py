"""Keys and signatures on BN254, the curve of the EVM's precompiles: the twin of contracts/audit/Bn254.sol."""
