"""Design values that the fit of the simulated population starts from and, in part, leaves alone.

Sensitivities, sides, arrows between findings and the device mix stay; PadChest's rates of device
kinds are lower bounds. `fit_population.py` corrects intercepts, loadings and persistence.
"""

# threshold, doubt, persistence, severity's share of acuity, chances of right and left side
FINDING_DESIGN = {
    "Enlarged Cardiomediastinum": (0.28, 0.35, 0.70, 0.0, 0.0, 0.0),
    "Cardiomegaly": (0.22, 0.20, 1.00, 0.0, 0.0, 0.0),
    "Lung Opacity": (0.10, 0.12, 0.30, 0.2, 0.36, 0.30),
    "Lung Lesion": (0.25, 0.10, 0.90, 0.0, 0.50, 0.42),
    "Edema": (0.20, 0.35, 0.40, 0.3, 0.0, 0.0),
    "Consolidation": (0.28, 0.50, 0.45, 0.2, 0.40, 0.34),
    "Pneumonia": (0.28, 0.60, 0.55, 0.2, 0.42, 0.36),
    "Atelectasis": (0.28, 0.50, 0.30, 0.1, 0.27, 0.33),
    "Pneumothorax": (0.18, 0.20, 0.75, 0.1, 0.54, 0.42),
    "Pleural Effusion": (0.16, 0.30, 0.50, 0.3, 0.26, 0.26),
    "Pleural Other": (0.28, 0.20, 0.90, 0.0, 0.40, 0.36),
    "Fracture": (0.28, 0.05, 0.95, 0.0, 0.48, 0.47),
}
CEILING = {"Cardiomegaly": 0.8}  # an old finding, not repeated in each report
HIDDEN_DESIGN = {
    "Cardiomegaly": (0.6, 0.0), "Edema": (0.6, -0.3), "Pneumothorax": (-0.7, -0.1),
    "Pleural Effusion": (0.2, 0.1), "Lung Lesion": (-0.3, 0.5), "Pneumonia": (0.0, 0.5),
    "Consolidation": (0.0, 0.4), "Pleural Other": (-0.2, 0.4), "Fracture": (-0.3, -0.3),
}  # fmt: skip
CAUSES = {
    "Edema": {"Cardiomegaly": 0.5},
    "Pleural Effusion": {"Edema": 0.4},
    "Atelectasis": {"Pleural Effusion": 0.4},
    "Consolidation": {"Pneumonia": 0.8},
}
OPACITY_ECHOES = {
    "Pleural Effusion": 0.34, "Edema": 0.15, "Pneumonia": 0.45, "Consolidation": -0.3,
    "Atelectasis": -0.2, "Lung Lesion": 0.3,
}  # fmt: skip
# intercept AP and PA (standard normal quantiles of rates), weights, causes, persistence, mentioned
DEVICE_DESIGN: dict[str, tuple[float, float, dict[str, float], dict[str, float], float, float]] = {
    "pacemaker": (-2.0, -2.0, {"age": 0.16, "male": 0.22, "frailty": 0.2},
                  {"Cardiomegaly": 1.4}, 1.0, 0.76),
    "sternal_wires": (-2.1, -2.1, {"age": 0.15, "male": 0.2, "frailty": 0.15}, {}, 1.0, 0.30),
    "surgical_clips": (-1.75, -1.75, {"age": 0.08, "frailty": 0.15}, {}, 1.0, 0.15),
    "shoulder_prosthesis": (-2.6, -2.6, {"age": 0.25, "male": -0.1}, {}, 1.0, 0.5),
    "central_line": (-0.55, -1.5, {"age": -0.05, "acuity": 0.6}, {}, 0.35, 0.93),
    "endotracheal_tube": (-1.3, -3.6, {"acuity": 0.9}, {}, 0.5, 0.97),
    "nasogastric_tube": (-0.75, -2.6, {"acuity": 0.8}, {}, 0.3, 0.94),
    "chest_drain": (-2.3, -2.6, {"acuity": 0.2}, {"Pneumothorax": 3.8}, 0.5, 0.95),
    "ecg_leads": (0.0, -2.0, {"acuity": 0.5}, {}, 0.2, 0.06),
    "external_cable": (-2.05, -2.9, {"acuity": 0.2}, {}, 0.0, 0.10),
}  # fmt: skip
