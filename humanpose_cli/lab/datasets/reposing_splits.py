"""The splits of the reposing paper's authors: which clothes of iPER and DeepFashion they choose by and evaluate on.

After dataset_definitions.py of MKnoche/warp3d_reposing@522e783, which lists them. iPER's 21 test clothes there are
those of the owners' val.txt (the 42 videos of iPER_protocol.json, svip-lab/impersonator). For their figures the authors
learn from all other clothes, those for validation included, and evaluate the last step.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from functools import cache

import numpy as np

_IPER_VALIDATION = (
    "001/14 001/16 001/2 001/21 001/29 001/4 001/5 001/6 004/2 006/1 009/4 009/7 012/1 015/2 015/3 018/1 019/1 019/3 "
    "021/1 024/2 028/1"
)
IPER_VALIDATION = frozenset(_IPER_VALIDATION.split())
"""21 clothes of iPER (person/clothes), of the owners' train.txt."""


@cache
def deepfashion_clothes() -> Mapping[str, str]:
    """Map clothes as "WOMEN/Dresses/id_00000002/02" to "validation" or "test", 2,061 each.

    The packed list is sorted by item, category and colour. It has a byte for each of the clothes of the difference to
    the item before, then a byte each of 1 + the category, or 0 for the garment before in another colour, then a byte
    each of the colour, or of its difference to that garment's, then a bit each, 1 for test.
    """
    data = zlib.decompress(base64.b85decode(_DEEPFASHION))
    count = 8 * len(data) // 25  # three bytes and a bit each
    items, kinds, colours = (data[part * count : (part + 1) * count] for part in range(3))
    bits = int.from_bytes(data[3 * count :], "little")
    clothes: dict[str, str] = {}
    categories, item, category, colour = _CATEGORIES.split(), 0, "", 0
    for number, (step, kind, other) in enumerate(zip(items, kinds, colours, strict=True)):
        item += step
        category = categories[kind - 1] if kind else category
        colour = other + (0 if kind else colour)
        clothes[f"{category}/id_{item:08d}/{colour:02d}"] = "test" if bits >> number & 1 else "validation"
    return clothes


def random_pairs(counts: Mapping[str, int], number: int, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Draw pairs of images by clothes, as in the paper's appendix B: clothes uniformly, then two images of them.

    counts  clothes → how many images they have, two or more; number  of all pairs, none where there are no clothes
    """
    names = list(counts)
    pairs: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    random = np.random.default_rng(seed)
    for _ in range(number if names else 0):
        name = names[random.integers(len(names))]
        first = int(random.integers(counts[name]))
        second = int(random.integers(counts[name] - 1))
        pairs[name].append((first, second + (second >= first)))
    return pairs


_CATEGORIES = (
    "WOMEN/Tees_Tanks WOMEN/Blouses_Shirts WOMEN/Dresses WOMEN/Sweaters MEN/Tees_Tanks WOMEN/Jackets_Coats "
    "WOMEN/Shorts WOMEN/Cardigans WOMEN/Graphic_Tees WOMEN/Pants WOMEN/Sweatshirts_Hoodies WOMEN/Rompers_Jumpsuits "
    "WOMEN/Skirts MEN/Shirts_Polos MEN/Sweatshirts_Hoodies MEN/Sweaters MEN/Pants MEN/Shorts MEN/Jackets_Vests "
    "WOMEN/Denim WOMEN/Leggings MEN/Denim MEN/Suiting"
)
_DEEPFASHION = (
    "cmV{#0fHn+lH^DLENUKEJ$L_q?h<`mYf=K{JXO!-k7L)#P3tKn(k>DdRn#Z>{?ne$x&PItmj3b$GY4euI(a#`LLcxRI&s{uY5Na%C4f9pG&FCu0PRB"
    "w*R!eRT5s#$%JZN9dy$(y<@)nFJ+IAtVqSBSO%{$N!j|jw-~RUPmg*DD`W`muzH_J=2g^SA3jX{SJk{Ujk{X-3?Jmi(zk6lPzWDoZ&)d1FK2MK#z^O"
    "Vl%yr&|n!xr`ecUHM$z7bmzr|D0I)0|oJL7SBC*EJbe#7kS+d}{Vn19dt{sTbj&519cE}i>(%l4$^)M1!^&UCXL0Q|E%|Ke)%r$4?Kn)rB%OzoFXZK"
    "}Zd`|JC^p43k0!RC~lf3%ZVqXsU`Gg}y7&ky;zC!cZuraHSRiRq<Ab58)v`O`Zf4IxziD-WX~R(yR<Z!y{{xyklC07^lJyEpxQ`K3MSo%?r>xx15nP"
    "ucG2FS|(SuWdx^0DyFB+ntKZ0|3Eq(~natRR92VzaK-*Q&lyOJkj}Od8V)4r3xp1dKy~3d1}&WzXq98{r)%M#y9NJ1Jg~F)UWmV|BrOwJd>Y)p?ZpX"
    "fh4+V`g&IG%)g#%Y5;Bi?e<jy0DPnqSNS=eAJqOfFPo!^nONU(*^e*OCQN3getmOOZ?Cw2VDne%Qb3~mK;HRSKiE%me~O3Lpt|Y0zdKM*)%??)Wb5b"
    "6CA5j^^D<t{{?Dw}B6G42<tFnBtB!4M{BU@dERW+v4?ibC){lcg2LR$uQ}f=-w)_;D`74@o{jAKLs22qQ*huJ$iEasKme&9PI8k><{ZVTFdZ**O8}8"
    "kwE??#WXD<Pv*_@sY$dq24`obq0e5L1U-UHT=YH&T9=wEI0&C~0LiM&;*Gz)QDxb~R<5cX(_hwt$#1D?gHzdxpOA8jU1vrk6y__vIkPA=vBu*VSqLh"
    "R@Jxl~g<+><i9{l%Dywaph6sU)w+Ls?lD{4%9!UFJC_N^s{7OA*KAx%QCZc7Lw+Ki2mzDfBP<#$^5|`@VeqAm97hhhKQ#nVtYYg>Li08aOLI(9MfIh"
    "6p;bb4Ortq%ZH@L7h4E5T6sKd#dw9)M16BzWj+^fDL_F`JeL5qd4Al-&1Y6Us<+rJ%K4Lo%M@iNJbRuEjo+(rC4SCQvm?@x%9)WY`%Q*q~}|b;!XG5"
    "yoac``E%<2t$e_a0iI}m&S#z@O)7PkZvE}wp$JZSs-}9`&iPbvc6#ug$nSiGQd$C}gC&QkhX2!aH!)q`IRUt}%$!Z9KIfqy%E){HTvyHf{onjQ@e`n"
    "Pvcyb$PX6gKQ?L{O(DU5cDWmB`lc{=8sbc8e-JMmY6&i6`Y6Igu_tB-QMviQ$(exYoygTN9y*)JN&v@oCJwGqG-G7~J=B8x;XZZKNu|0dXomiLlYaY"
    "P+u~s?fdAsAE<|)d|KN{=%yg4tO^R!I=eIK9+Vq@NUT^Z*;Iz|R|q6_z3t}@UR3(TK?gj<D!OZx!;hp;sNH}#Fw*ED`PRY^I7$#x#^JWtJ7`91fUf~"
    "b}_uJ}#$oNl5c-EAFeVh;cSK>h#ncOIh5%R6*F*$;7XOp>AJv-u`@>^CJ)Py@Io=k@T(^!XHafqJp?S<lUZw_V-8u<K^}niQz&{kDM$TqS&MpNe5Vi"
    "PGNo4&+o=dfBz@Xg+;&H9qwt?|YZpbGy%*lKc)J=loBuTJ1w&`=!4C{qs@!=QlPpUHH45<=&gUd5LShtYD~zpL!%6CIF$PAF8HauKYvw;AtyW&4&7P"
    "sqQmXb^rQ3W-XjrjtESK1~5}iPCxC^Io!;BqW(Vs009601i=Yn8$l2Qu_D=X?xB?|JOBS_fEQDiLM$L#XIxGky>=Jg%Xvgr;#3JF2HSem1?jULO{fl"
    "=NJo98YW7d;*6;6<uB4WxP|F=*9Lqjeu&Tpf5C1Goeu=7P8nN5osh5yHZ50QIXxZ#P)2F_+6=56)heq}zN0Q~r>Qj!tv#)3$?^wuhYcCnA=G7imVnt"
    "r(6s`9rX@ucilWzJz5rX78+8O!o+5W6dS!aUfW7O-xpTN`a9~lp?n822+z-jQ)a~@FEoy1z1*uhH9{Aor-*Zinbe?yseROa3<t(~L(mDXRzD|SN#NP"
    "eYX^-^K4UpXuHlROgOEvd;g2~TqG3TGF{!G0V2-*<3I_CcynEt8(g#9H=PH|z3rkLHO00KoQKb~^y*=y0tkXnxzrD{<S(P=D5`!#wu1bJlDfeco1lf"
    "91R#0e~%!or%5op{<y1h3I)Wgrg<YRx1sceA&-i0)*Ng@g@4R+~6&E9<?nL?UO`><cTaOMXu)4D;AcayPCM4xpWjqIzCU|y4JJ%=`e(U&$xRiMAJtD"
    "IQ#MYtTuHC=#FV%W@_5QrVE?UWib!y{+;=mY;-y@Q$I-Y4G&mNFk>R=tUH;}(0N)YPx6*fw6t!9%QY3R%ZiT*tKe{kKZxRY0syHgOI9Qq4Iuz%p!zv"
    ";7WIw1N9_mz0LfdJZ1t%5ooeGLx5kkY(pE`U5`B}r<wR;QUU>HHZQN&9CCYHVzba?h4Q`*RSR=7uh`eyzogZ*g(fZZR?;aj2@*2WPV2;WxF|u#$oUu"
    "3*3&c5jTccF^E60}OwyNtmBX3u407Fsf$WZG704Of+-Kgy}>*H40f=Eeej-U9?^pDLes+krS@yNp&UV9$hU~$-|j#TUCOq#CrY>B)fl9V&rQUVAuuQ"
    "4H9n!-!qMBbS(5#g(wr?0+J>x|=qt1D@FjrVJ<zfX)jGQ2-p+X5*E`jpz%*-VP(<<yG4EfTAIso~HEM;>mg(Nc4YrDU35F_ft0+7$*L<6X!2kuDAxz"
    "jF8i!JYyD(QWJ9{3}n{U9#c`Dqk<l$Zp8}*4ewX99onj4FE_QRWN)rg=BvPcC1|EIt2j0Q!|&B==k^G^TfL9HKi0&@5^|4duUqH+Cw!VPIrI<y8J1n"
    "G86&xd@9T&Lmn}?iwK;2b6P{T1;}Fh=vTmc<&asHFB>I?yL(<(oz4~2TQ$U=Eu%Ob;$Bg?2>>>c+44XWZ_(ssz&T7$bL)6qqKlu{71AWh7H?W1dUrN"
    "Ql!#ppDrD1W0Nfyc^U0~Kvef0Sjbm|+RGg!WkdjD^T-#gNqFcemXKdWfI*}w>hGl>5qLsSaE4uP?Y#l#L@q%{hMoF~Hax|8kwmL%OH=eu3@_{pw&`+"
    "Ys*1%d;Q0i2lZZtURQOg!uH%ck4Tmm>`u#bLd^K;e*%6T5Y3fjw+A$oDp5U46>ST$&%G9t_FmwgKErpnp7wjw;80=ZmcrjE;D&|)*6n2>WiRujn-kV"
    "80Yb(c!fa=Pfo^cEfV<)-AYT>TnW@?c8>UNUR6$gS26w<roXA^Jnvu^83}a?9wrMRn<vEC2v*>8w>$#kz7R=eq`Z;ZOTE3#B8SdVJ-`J3{ml&2PoAr"
    "5X7w;9au=k+{k$&bGR;Cgm2<w@Uh0mQ@;FLP9V##M1XK@g0xIJ#KbaV(!y@$bvI3#9m2E-jv6%1<-B79bwFn74*bcIX@A$qH#;Q0Ul+yWxZycbSp0V"
    "ob7|Uk<qHLx-I~>ex`fbJ)hIY5rE>nP>Paclw+7Et<t3_P<8?U{5AKCBxP@2SaQOhZfwOCjJjJ&4B?)vW=qR?9`6?O=i-ZASF9^}!5T;vo8&J4T#7E"
    "LH>|XL9O13_#z~7rAIjB)`#bWej-;U^BhB)X=~1%ArBkiVuWMK@0DomGT}WP*m9nr$S>1B`3P8cK=C)Tna@Zo>yK9OvN^?;`KYrTT&t$60TK1)$?zF"
    "W8T#}%8??I)kimH!`?na7W1(M!5WFyO^lw00lr$kvWruIviE_;gJAeN^903$fBlHN^LTjr6@!*WjSrP`5Ls}OI<#+i?}h9b$sE-IPlF+HRdh+OF<Gm"
    "GR#Gs(N_N%dx?-}v)B``fc9C*f@Y001<(U$x_4Bz{NyFXD7;(T#`)=6v%fUS!&JIQ9~eP<e`ibcinjNGW3FgLPp!AGyJ@z}aQgchkriJ!)`i?_5qdB"
    "iUm_xzsHrun*f(Twpig?bQm>U+Edfrji&VZ7oTE4T|i1puD?YZ>OXPYb^WIN|ghZEq19%aonZh^(l3U4AKDnwiI2o_Oa{;2|lsp2$*&gW49l772P>!"
    "<%)1#s_GhLsVS{aiBg2(u?-@17LIK(j9;`80F6ZIHd!CPqLfwA>CkKoWao+^rBeG<<g)EFDY2z=zmy)u!7q&n<s7mlgg_~RBY=NOx1vIqlfEOTTbxR"
    "Za*C+`2LJ&7{{+D?mMq5+1i|MXky+K#`v-sk2oOkxDizAS|G8iWs9Tr;X-1j|AcI1fiiS8~FlM>*5Cv+9#<h(N(FQ&XAP7R}0AQ+sxJMu_SVjvBSWr"
    "li@En%H;eZVQT3{_rrr_ZVa#R^@aI;DzU_uZS5O);mH9-+U;A&P8#1;(!3@Cwekpn~lZva`~XevQ|3w*E=)Bs3;N;IWn>%~?^8%VE3R0StgL;x<@2>"
    "5HjJswfnB1jR;Fd&v2L4K7Q(_!5#C?psrKp`S(Py_-9h_w=6!O?XDLb`%W{NNE`K&XO>;Iu-cR&N8C(o{n@q`a!g*l2(`1`DL&`$M1zIEb!cT9}~_{"
    "fZzh6P^_7Wilxlq(>cDL_wiz0|*{eb-~18+CY*#1keJUirVwxiv^Ofw=7kNfcM%84h@BeBF+_ZCP*R#H1S1TWTt?@jAk*GG*EPlDgcWnRZJQP^7#;?"
    "?;x4JP6(19rV~l*%jEkv1?Z`&Vl^;Jf2R)WGKzX0u!``5DRj1W0MvmLNlf68B<NJj5)>j73Q@HfVt_*cjSwOL2w@WhNPvpec*H=GMxYqFX#m6y)doj"
    "c7r79PA%Y+f{sS^#wYz63vLL`<nM5kI;H?OXENp>TQ4%1iVnozAqHthJ%?mrI6j+6_FfkH2f)+6`i{NBL6yZj-S(rsDq`(2rhzgP+ZE#Bw3I>r_xU;"
    "i1rs2}0XD|q$DPW^#1PruPgcma;NGMB=&>KdcV~v6qS6al_LJJ2-G7^|grW$z0y-|!5SqAD&>kr7tSckLZxEwy;`C;m3h!F}5uj(>Ys)V%CP$p&zdS"
    "!tM5tp!$-=UI9Y;lcE>Hm{dtMCB|lv43iV89M+mINaOBGPB@1aO0TL<6oMz5G|mpFajiVhDs0Wnj60a0$VmGEud{AffUiqmls`(~zX9M}=a56_Jm`L"
    "@^<UA}T5ka*EVg!U(V-;k9X}h*S@w;vwh?kQiNIiiQx93PC6s6Db=}TcMzC09MeE1v`vY0P+Q>CS0OhG8T{rfs8_nwq)dy0;@U*btpIqu%m=iq(S6W"
    "CUCo2G7$WijJVd|>o8(bK^(M6Whe(g!3YijsDt4EqA?V)s3t1X6hvV77|1h_K+yW{KSCSo>Z70tg1RHZaKmAKRap);kU=0-NI!sTDKsh~pdMi{mVU%"
    "qgya?2MO7UZVr8I#8$r-5l>!XZvmmHqnbe>uhKSG_bk3Bh!=RQJCnhBf65T5R5M&L#J9LT>xs0H|>Y%Y0s)QmK%xUriQY8oh=m*pwE}=`na>EXghy!"
    "A-i->3(pK8k*AR!JQQao~!v5(sD$`rN88<H})pmzn}XbrNWC~0(W3<ZM?Sv^3DybjR7|6+ozsYINxAwI#}TF4?4MSyY%3W=0}<`_ZXbSHvAA|tAUAk"
    "2e+8iXZKqS~uC0j$dEr51!tVz(2JjT+_x3}h9wXd;Ch5fdoiuYr&OZqpx1wA)6bdZ=)*LXbdoEH3_#S5}}be991psiZR0j8*`ujvS4~AWGv{@TA(Hf"
    "VZNuX$E{xv0rfJ08s^?Yl~OVV!+%>B?Jh3G$OV<Bmiv)TTxhinQ>GOu=&f7(IdE^Cd9x|P(+a!2guHc6wS~=P0U5+ptS>dhJYYA1giipA<zZMsu={P"
    "5l~P_0cZ$Nu%cqA^#%nT1S!CfA+eYMj#$HPx*)h298OTBLZHS#BC#YiU?yx3i&hCCg#K-Fl7~EoAXKJdpi-~4f-YARiO*+X4S<+PcuV!9hC-u7BlB3"
    "sm<UP=REP!@WvW`v17tQ#-hTi90RR601Oog0=^wJsRvjn^{I1S_c9LB!5b48aA@TEa{o<b~Mbc;lm#uPHBx4Cob<CV>L#3T-3Fkn2&lZ(lw(zO(`@w"
    "B!rt#sn*Bs~1zM*<1*JQ)XPK;soD3%JYojiHXW_h`gyhr<{{m!{`A#obIT0x&M#g}OtUv@OGVCgQ7Dj(wPVU?Ao0H;=*^Qeku5pjmVqZw)Dw4i>QAi"
    "}pFAGd?GcQ-4bGOt1`CroJeAr)A<8Zd(l@}DJt@SJxL7*if1tr<ZC4ngYq;oHtpE9XDQE!(L$|3B-Up)mYw0xk)aIeVZ|q3?&hg&OI(BwT)<Q*Ml=G"
    ">x&lLZr2dh52hf=uMt4(jUN16rO1SI2wE$HS04?uv}B_Opb@1yB%D(xn{8;{xCpX1>iMVHgCZ~*w-}n=(Kx8lQ*aM17d)=4rV(g7^BWfYbrM|<;~t+"
    "a5rD?&(B&u9OedS9$>835Dr{*izKH3^#-VxY+h|Fe?L*kON*C782)9%Nc=bz=NN6rg+O3oy+tlgwrg`Z*fgA6bM2!NrTVjis5lwBd>hV7p>5UraM{r"
    "TW(PEUeTWIbw)F|9Eq+44I~c|U01{oK?`B&drHmu_1a6$>Wpm35UPsg}Mop6C&)JO+9cGizmPM#&H%4<a6K_FJ|G_&rCV5&0xCX>x+e&3>q0Q+6000"
    "30{{sNf*Mff"
)
