"""All results that the project states, the cheapest first."""

from cam_adv.results.result import Result

DATA = "outputs/data"
"""Where data are looked for that this project doesn't ship: MNIST and Fashion-MNIST as torchvision unpacks them, the
photographs of hands as ten folders, pictures with people's labels, weights of generators from elsewhere."""

MNIST = f"experiment=full_mnist dataset.root={DATA} dataset.download=false"
HANDS = f"dataset=image_folder dataset.root={DATA}/signs dataset.size=32 dataset.gray=false"
CLAIMS_LEFT_OUT = ("meta_evaluation.answers.details", "*.instability*.details", "*.unfaithfulness*.details")
"""Of the study of explanations: the effects against each control, hundreds of them."""
PEOPLE = {
    name: f"study=judge_agreement study.images={DATA}/{name}_x.npy study.labels={DATA}/{name}_y.npy"
    for name in ("people", "invariance")
}
"""Digits that two people named or called no digit (Riccio and Tonella, ICSE 2023; without those stored almost black),
and digits that people labelled after an attack (Tramèr et al. 2020)."""

RESULTS = (
    Result(
        "digits",
        "cam-adv",
        minutes=4,
        headline=True,
        pictures={
            "figures/7_to_0.png": "7_to_0.png",
            "figures/7_to_9.png": "7_to_9.png",
            "figures/pairs.png": "pairs.png",
        },
    ),
    Result("generated", "cam-adv selection.source=generated selection.images=100", minutes=1),
    Result(
        "burgess",
        "cam-adv model/generator=burgess_vae "
        f"model.generator.network.decoder.weights={DATA}/vae_mnist_burgess.safetensors selection.images=100",
        minutes=3,
        needs=(f"{DATA}/vae_mnist_burgess.safetensors",),
    ),
    Result(
        "type2",
        "cam-adv -m attack=type2_latent,fgsm,pgd,pgd_l2,ddn,deepfool,carlini_wagner",
        minutes=5,
        values="sweep.json",
    ),
    *(
        Result(
            f"judge_5k_{name}",
            f"cam-adv {study}",
            minutes=1,
            values="judge_agreement.json",
            needs=(f"{DATA}/{name}_x.npy", f"{DATA}/{name}_y.npy"),
        )
        for name, study in PEOPLE.items()
    ),
    Result(
        "min_perturbation", "cam-adv study=min_perturbation", minutes=5, headline=True, values="min_perturbation.json"
    ),
    Result(
        "frontier",
        "cam-adv -m attack.residual.eps=0,0.25,0.5,0.75,1,1.5 attack.confidence=0.9,0.99,0.999 selection.images=100",
        minutes=8,
        values="sweep.json",
        pictures={"sweep.png": "frontier.png"},
    ),
    Result(
        "robust_explanation",
        "cam-adv study=robust_explanation",
        minutes=6,
        headline=True,
        values="robust_explanation.json",
        pictures={"figures/robust_explanation.png": "robust_explanation.png"},
    ),
    Result(
        "attack_comparison",
        "cam-adv study=attack_comparison",
        minutes=7,
        headline=True,
        values="attack_comparison.json",
        files=("detectors.json", "perturbed_pixels.json"),
        pictures={
            "figures/attack_comparison.png": "attack_comparison.png",
            "figures/false_positives.png": "false_positives.png",
        },
    ),
    Result(
        "hands",
        f"cam-adv {HANDS}",
        minutes=13,
        pictures={"figures/pairs.png": "hands_pairs.png", "figures/0_to_1.png": "hands_0_to_1.png"},
        needs=(f"{DATA}/signs",),
    ),
    Result(
        "hands_residual",
        f"cam-adv -m attack.residual.eps=0,0.5,1,2 selection.images=100 {HANDS}",
        minutes=8,
        values="sweep.json",
        needs=(f"{DATA}/signs",),
    ),
    Result(
        "adversarial_training",
        "cam-adv study=adversarial_training",
        minutes=45,
        values="adversarial_training.json",
        pictures={"figures/adversarial_training.png": "adversarial_training.png"},
    ),
    Result(
        "explanation_reliability",
        "cam-adv study=explanation_reliability",
        minutes=15,
        headline=True,
        values="explanation_reliability.json",
        left_out=CLAIMS_LEFT_OUT,
        pictures={
            "figures/explanation_reliability.png": "explanation_reliability.png",
            "figures/attributions_7_to_0.png": "attributions_7_to_0.png",
        },
    ),
    Result(
        "explanation_reliability_seed_1",
        "cam-adv study=explanation_reliability seed=1",
        minutes=14,
        values="explanation_reliability.json",
        left_out=CLAIMS_LEFT_OUT,
    ),
    Result(
        "fashion",
        f"cam-adv dataset=fashion_mnist dataset.root={DATA} dataset.download=false model.victim.training.epochs=8 "
        "model.generator.training.svae_epochs=10 model.surrogates.training.epochs=6 model.judge.training.epochs=6",
        minutes=40,
        needs=(f"{DATA}/FashionMNIST",),
    ),
    Result(
        "mnist",
        f"cam-adv -m {MNIST} attack.steps=300 attack.residual.eps=1.5 attack.confidence=0.9,0.99,0.999",
        minutes=16,
        values="sweep.json",
        needs=(f"{DATA}/MNIST",),
    ),
    *(
        Result(
            f"judge_mnist_{name}",
            f"cam-adv {MNIST} {study}",
            minutes=1,
            values="judge_agreement.json",
            needs=(f"{DATA}/{name}_x.npy", f"{DATA}/{name}_y.npy", f"{DATA}/MNIST"),
        )
        for name, study in PEOPLE.items()
    ),
    Result(
        "explanation_reliability_mnist",
        f"cam-adv {MNIST} study=explanation_reliability study.images=200 study.targets=2 "
        "study.arms.type1_cam.images=100 ~study.arms.type1_latent "
        + " ".join(
            f"~study.attributions.{name}"
            for name in ("grad_cam", "grad_cam_pp", "score_cam", "integrated_gradients", "last_channel_cam")
        ),
        minutes=90,
        values="explanation_reliability.json",
        left_out=CLAIMS_LEFT_OUT,
        pictures={"figures/explanation_reliability.png": "explanation_reliability_mnist.png"},
        needs=(f"{DATA}/MNIST",),
    ),
    Result(
        "explanation_reliability_hands",
        f"cam-adv {HANDS} study=explanation_reliability ~study.arms.type1_latent ~study.arms.type1_cam",
        minutes=40,
        values="explanation_reliability.json",
        left_out=CLAIMS_LEFT_OUT,
        needs=(f"{DATA}/signs",),
    ),
    Result(
        "published",
        f"cam-adv -m {MNIST} attack=type1,type1_latent,tang2018 selection.images=64",
        minutes=20,
        values="sweep.json",
        needs=(f"{DATA}/MNIST",),
    ),
    Result(
        "benchmark", "python -m cam_adv.benchmark", minutes=15, values="benchmark.json", code=("cam_adv/benchmark",)
    ),
    Result(
        "benchmark_gpu",
        "python -m cam_adv.benchmark gpu",
        minutes=5,
        values="benchmark_gpu.json",
        code=("cam_adv/benchmark",),
        gpu=True,
    ),
    Result("faults", "python tests/faults.py", minutes=30, values="faults.json", code=("tests/faults.py",)),
)
