"""The columns of the tables that Pilot-Quantum's mini-apps write.

From github.com/radical-cybertools/quantum-mini-apps at b7d8e1f (January 2026), under the name of the motif here.
"""

from __future__ import annotations

MINI_APP_COLUMNS = {
    "circuit-execution": "timestamp num_qubits n_entries circuit_depth size_of_observable depth_of_recursion"
                         " tasks_wait_time total_run_time",
    "circuit-cutting": "experiment_start_time subcircuit_size base_qubits circuit_type circuit_depth observables"
                       " scale_factor num_samples number_of_tasks metadata cluster_config full_circuit_qiskit_options"
                       " circuit_cutting_qiskit_options circuit_cutting_task_resources full_circuit_task_resources"
                       " find_cuts_time circuit_cutting_transpile_time_secs circuit_cutting_exec_time_secs"
                       " circuit_cutting_reconstruct_time_secs circuit_cutting_total_runtime_secs"
                       " full_circuit_transpile_time_secs full_circuit_exec_time_secs full_circuit_total_runtime_secs"
                       " circuit_cutting_expval full_circuit_expval error_in_estimation scenario_label num_cuts"
                       " sampling_overhead predicted_speedup actual_speedup speedup_error prediction_accuracy_pct"
                       " gpu_mode gpu_fraction gpu_type num_slots num_gate_cuts num_wire_cuts num_nodes cores_per_node"
                       " gpus_per_node task_runtimes",
    "distributed-state-vector": "timestamp num_gpus wires layers time expval enable_jacobian enable_qjit"
                                " mpi_startup_time",
    "qml-compression": "n_samples number_of_nodes cores_per_node compute_time_sec",
    "qml-training": "timestamp scenario_label num_qubits compute_time_sec parameters cluster_info",
    "qml-classifier": "column_1 compute_time_sec",
}  # fmt: skip
